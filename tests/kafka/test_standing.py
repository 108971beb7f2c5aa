"""A standing search on real parts: an enrolment opens one case within seconds, and never a second one."""

from functools import partial
from pathlib import Path
from typing import cast

import lab
from lookout import at_work, template_of

import topics
from rfr_stream.adapters.memory.vision import PlantedFace
from rfr_stream.events import CandidatesReady, FaceEmbedded
from rfr_stream.ports import CaseState
from topics.embedded import EmbeddedKafka
from topics.tail import read_tail

ANNA, BERT = PlantedFace("anna"), PlantedFace("bert")


async def test_an_enrolment_opens_one_case_within_seconds_and_none_when_all_is_said_again(tmp_path: Path) -> None:
    async with EmbeddedKafka(tmp_path) as kafka, at_work(kafka.bootstrap_servers, tmp_path) as here:
        probe = await here.probe(await template_of(ANNA), "case-anna")
        await here.bus.publish([probe])
        await here.list_of(probe.submission)
        await here.enrol(p1=ANNA, p2=PlantedFace("anna", x=60))
        enrolled = await here.searchable(2)
        heard, found = await here.renewal_of(probe.submission.submission_id)
        assert sorted(each.person_id for each in found.candidates) == ["p1", "p2"]
        assert heard - enrolled < 5
        case = await here.ledger.case(found.submission.submission_id)
        assert case is None or case.state is CaseState.AWAITING_REVIEW  # it may be on its way still
        await here.bus.send([kept.record for kept in await read_tail(here.bus.options, topics.ENROLMENTS.name)])
        await here.bus.send([kept.record for kept in await read_tail(here.bus.options, topics.TEMPLATES.name)])
        marker = await here.probe(await template_of(BERT), "case-bert")
        await here.bus.publish([marker])
        await here.list_of(marker.submission)
        await here.enrol(p3=BERT)
        await here.renewal_of(marker.submission.submission_id)  # whatever was said before has been heard by now
        assert {each.list_digest for each in lists(here.renewals_of(probe.submission.submission_id))} == {
            found.list_digest
        }
        asked = [
            cast(FaceEmbedded, topics.TEMPLATES.decode(kept.record))
            for kept in await read_tail(here.bus.options, topics.TEMPLATES.name)
        ]
        again = [
            each
            for each in asked
            if each.submission.renewal and each.submission.renewal.of == probe.submission.submission_id
        ]
        assert len({each.event_id for each in again}) == 1
        four = await lab.until(partial(here.ledger.cases, list(CaseState)), lambda cases: len(cases) >= 4)
        assert len(four) == 4


def lists(rows: list[tuple[float, CandidatesReady]]) -> list[CandidatesReady]:
    return [found for _, found in rows]
