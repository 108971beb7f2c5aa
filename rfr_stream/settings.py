"""The only module that reads the environment: `RFR_*`, nested by `__` (`RFR_SEARCH__THRESHOLD=0.5`).

Made once in `create_app` or on the command line and passed down, section by section; never imported as a value.
"""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rfr_stream.reception import LOOPBACK, Door


class Section(BaseModel):
    """One adapter's or runtime's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """Which cluster, and how to be let in."""

    bootstrap_servers: str | None = Field(
        None, description="host:port,...; none: the embedded broker of the data directory"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ca_file: Path | None = Field(None, description="PEM of the authorities to trust; none: the system's")
    cert_file: Path | None = Field(None, description="PEM of the client's certificate, for mutual TLS")
    key_file: Path | None = None
    replication_factor: Annotated[int, Field(ge=1, le=9)] = 1


class BlobSettings(Section):
    """Where images, crops and templates lie."""

    kind: Literal["file", "s3"] = "file"
    bucket: str = Field("rfr", description="folder of the data directory, or S3 bucket")
    endpoint_url: str | None = Field(None, description="any S3-compatible server; none: AWS")
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    multipart_bytes: Annotated[int, Field(ge=5 * 2**20)] = 16 * 2**20


class GallerySettings(Section):
    """Where templates of references lie."""

    url: str | None = Field(
        None, description="a Qdrant server or cluster; none: the embedded engine of the data directory"
    )
    api_key: SecretStr | None = None
    prefer_grpc: bool = True
    grpc_port: Annotated[int, Field(ge=1, le=65_535)] = 6334
    timeout_s: Annotated[int, Field(ge=1, le=600)] = 10
    conflict_threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="cosine similarity from which one face under two persons is reported; none: the pack's own"
    )
    shards: Annotated[int, Field(ge=1, le=256)] = Field(1, description="of a collection, when it is made")
    replicas: Annotated[int, Field(ge=1, le=9)] = Field(
        1, description="of a collection, when it is made; a majority must answer"
    )


class LedgerSettings(Section):
    """The database of record."""

    url: str | None = Field(None, description="SQLAlchemy async URL; none: SQLite in the data directory")


class VisionSettings(Section):
    """Which model pack, and on what."""

    pack: str = "baseline"
    pack_file: Path | None = Field(None, description="TOML that describes the `onnx` pack: models of your own")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="of one model; processes scale better than threads"
    )
    decode_threads: Annotated[int, Field(ge=1, le=64)] = 2
    weights_dir: Path | None = Field(None, description="none: the data directory's `models`")
    max_image_bytes: Annotated[int, Field(ge=1)] = 64 * 2**20
    max_image_pixels: Annotated[int, Field(ge=1)] = 120_000_000
    max_video_pixels: Annotated[int, Field(ge=1)] = Field(40_000_000, description="of one frame; 8K has 33 million")
    max_video_frames: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="decoded for one request; 11 hours at 25 a second"
    )
    max_video_s: Annotated[float, Field(gt=0)] = 7 * 86_400.0


class DetectionSettings(Section):
    """What a probe must be before anybody searches for it."""

    min_interocular_px: Annotated[float, Field(ge=0)] = 12.0
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5


class SearchSettings(Section):
    """Threshold and length of candidate lists."""

    threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="cosine similarity; none: the pack's own"
    )
    list_length: Annotated[int, Field(ge=1, le=100)] = 10
    head_room: Annotated[int, Field(ge=1, le=20)] = Field(
        3, description="hits fetched per place on the list, before eligibility"
    )


class StandingSettings(Section):
    """Probes of missing and of unidentified dead people, that every later enrolment is compared with."""

    review_after_days: Annotated[float, Field(gt=0, le=3650)] = Field(
        90.0, description="until a standing search lapses, unless somebody keeps it (`rfr standing keep`)"
    )
    gather_s: Annotated[float, Field(ge=0, le=60)] = Field(
        2.0, description="how long a reference that meets a probe waits for others, so that they make one list"
    )
    look_every_s: Annotated[float, Field(gt=0, le=60)] = 0.25


class ReviewSettings(Section):
    """How long a case may wait for people."""

    expire_after_days: Annotated[float, Field(gt=0)] = 30.0
    sweep_every_s: Annotated[float, Field(gt=0)] = 60.0
    seeded_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05, description="of what comes to people: submissions whose answer is known, as far as there are any"
    )
    remind_after_hours: Annotated[float, Field(gt=0)] = Field(
        24.0, description="until a withdrawal is sent again to subscribers who have not acknowledged it"
    )


class DeskSettings(Section):
    """The review desk: where it is, and how people come in."""

    public_url: str = Field(
        "http://localhost:8470",
        pattern=r"^https?://[^/\sA-Z]+$",
        description="as browsers name it; http on loopback only",
    )
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8470
    proxies: str = Field(
        "", description="addresses or networks of reverse proxies, comma-separated: their X-Forwarded-For is believed"
    )
    lease_minutes: Annotated[float, Field(gt=0, le=480)] = 20.0
    idle_minutes: Annotated[float, Field(gt=0, le=480)] = 30.0
    session_hours: Annotated[float, Field(gt=0, le=24)] = 8.0
    oidc_issuer: str | None = Field(None, description="of the OpenID Connect provider; none: local accounts")
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_account_claim: str = Field("preferred_username", description="becomes the account's reference")
    oidc_roles_claim: str = Field("rfr_roles", description="a list of roles")

    @model_validator(mode="after")
    def _is_named_as_by_browsers(self) -> Self:
        """Refuse a port that browsers leave out: what they send is compared with the whole."""
        url = urlsplit(self.public_url)
        if url.port == (443 if url.scheme == "https" else 80):
            msg = "public_url: without the port that goes without saying"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Self:
        """Refuse a provider that does not know this desk, or whose word others could change on its way."""
        if self.oidc_issuer is None:
            return self
        if self.oidc_client_id is None:
            msg = "oidc_client_id: how the provider knows this desk"
            raise ValueError(msg)
        url = urlsplit(self.oidc_issuer)
        if url.scheme != "https" and url.hostname not in LOOPBACK:
            msg = "oidc_issuer: over the network a provider is asked by https alone"
            raise ValueError(msg)
        return self


class IntakeSettings(Section):
    """The HTTP intake: which doors are open, and what comes in how fast."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8471
    doors: tuple[Door, ...] = Field(
        (Door.OFFICER, Door.UNIT, Door.APPEAL), min_length=1, description="that this process opens; in JSON"
    )
    key_file: Path | None = Field(
        None, description="what clients' tokens are made with; none: `intake.key` of the data directory"
    )
    connections: Annotated[int, Field(ge=1)] = 256
    uploads: Annotated[int, Field(ge=1, le=1_000)] = Field(8, description="at once through one door")
    appeal_uploads: Annotated[int, Field(ge=1, le=1_000)] = Field(
        2, description="at once through the public's door: a burst waits in its portals, and not in front of officers"
    )
    max_images: Annotated[int, Field(ge=1, le=1_000)] = Field(20, description="of one request")
    max_upload_bytes: Annotated[int, Field(ge=1)] = Field(256 * 2**20, description="of one request, all told")
    videos: Annotated[int, Field(ge=1, le=100)] = Field(
        2, description="at once through all doors; each has one process that decodes, and its frames in the spool"
    )
    max_video_bytes: Annotated[int, Field(ge=1)] = Field(
        2 * 2**30, description="of one video; and of the frames that are taken from it, together"
    )
    max_frames: Annotated[int, Field(ge=1, le=1_000)] = Field(100, description="of one video; each is a submission")
    video_wait_s: Annotated[float, Field(gt=0, le=3_600)] = Field(300.0, description="for the frames of one video")
    video_memory_bytes: Annotated[int, Field(ge=2**28)] = Field(
        4 * 2**30, description="that one process may write to while it decodes"
    )
    stall_s: Annotated[float, Field(gt=0, le=300)] = Field(
        10.0, description="without a byte, before a client is cut off"
    )
    min_bytes_per_s: Annotated[int, Field(ge=1)] = Field(4_096, description="of an upload, on average")
    min_video_bytes_per_s: Annotated[int, Field(ge=1)] = Field(
        262_144, description="the same of a video: it holds one of few places for as long as it comes in"
    )
    backlog: Annotated[int, Field(ge=0)] = Field(
        10_000, description="submissions that wait for detection, before no more are taken"
    )
    backlog_every_s: Annotated[float, Field(gt=0, le=300)] = 5.0
    publish_wait_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    scanner: str | None = Field(
        None, pattern=r"^(tcp://[^/\s:]+:\d+|unix:///\S+)$", description="a clamd; none: nothing is scanned"
    )
    scan_wait_s: Annotated[float, Field(gt=0, le=600)] = 60.0


class CallbackSettings(Section):
    """How clients are told what became of what they sent."""

    attempts: Annotated[int, Field(ge=1, le=20)] = Field(5, description="before the dead letters; the sender may ask")
    first_wait_s: Annotated[float, Field(gt=0, le=60)] = Field(0.5, description="then twice as long each time")
    longest_wait_s: Annotated[float, Field(gt=0, le=60)] = 8.0
    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(5.0, description="of one attempt, all told")
    away_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        60.0, description="without an attempt, once a receiver has let all of them pass: nobody else waits for it"
    )
    private_networks: bool = Field(default=False, description="also at addresses that are not the public internet's")
    ca_file: Path | None = Field(None, description="PEM of the authorities to trust; none: the system's")


class PipelineSettings(Section):
    """How messages are gathered, kept in flight and let go."""

    batch_items: Annotated[int, Field(ge=1, le=4096)] = 32
    batch_wait_ms: Annotated[float, Field(ge=0, le=10_000)] = 10.0
    depth: Annotated[int, Field(ge=1, le=16)] = Field(
        2, description="batches in flight: one on the device, others loading"
    )
    commit_every_ms: Annotated[float, Field(ge=1, le=60_000)] = 200.0
    drain_s: Annotated[float, Field(gt=0, le=300)] = 8.0
    dead_letter_ceiling: Annotated[int, Field(ge=1)] = Field(
        100, description="consecutive dead letters that stop a stage"
    )


class Settings(BaseSettings):
    """Everything that may be set."""

    model_config = SettingsConfigDict(env_prefix="RFR_", env_nested_delimiter="__", frozen=True, extra="forbid")

    data_dir: Path = Path(".rfr")
    demo: bool = False
    instance: str = Field(
        "0", pattern=r"^[a-z0-9-]{1,32}$", description="this replica's own name: static group membership"
    )
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(0, description="Prometheus; 0: off")
    kafka: KafkaSettings = KafkaSettings()
    blobs: BlobSettings = BlobSettings()
    gallery: GallerySettings = GallerySettings()
    ledger: LedgerSettings = LedgerSettings()
    vision: VisionSettings = VisionSettings()
    detection: DetectionSettings = DetectionSettings()
    search: SearchSettings = SearchSettings()
    standing: StandingSettings = StandingSettings()
    review: ReviewSettings = ReviewSettings()
    desk: DeskSettings = DeskSettings()
    intake: IntakeSettings = IntakeSettings()
    callbacks: CallbackSettings = CallbackSettings()
    pipeline: PipelineSettings = PipelineSettings()

    @property
    def blobs_dir(self) -> Path:
        """Of the file store's buckets."""
        return self.data_dir / "blobs"

    @property
    def gallery_dir(self) -> Path:
        """Of the embedded gallery."""
        return self.data_dir / "gallery"

    @property
    def weights_dir(self) -> Path:
        """Of weights that no installed package carries."""
        return self.vision.weights_dir or self.data_dir / "models"

    @property
    def seal_file(self) -> Path:
        """The key that disclosures are sealed with."""
        return self.data_dir / "seal.pem"

    @property
    def intake_key_file(self) -> Path:
        """The key that clients' tokens are made with."""
        return self.intake.key_file or self.data_dir / "intake.key"

    @property
    def spool_dir(self) -> Path:
        """Where uploads lie while they come in: of this replica and its doors alone."""
        return self.data_dir / "spool" / "-".join((self.instance, *self.intake.doors))

    @property
    def journal_dir(self) -> Path:
        """Where each stage notes what it has in hand."""
        return self.data_dir / "journal"
