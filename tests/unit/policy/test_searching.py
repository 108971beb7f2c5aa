"""Who may be sought where, what comes first, and what is mixed in."""

from itertools import product

import builders
import pytest

from rfr_stream import policy
from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, Harm, Purpose, Regime, Source
from rfr_stream.policy import RULES


class TestSearchable:
    def test_asking_for_nothing_means_all_that_the_purpose_opens(self) -> None:
        asked = builders.submission(purpose=Purpose.MISSING)

        assert policy.searchable(asked) == (GalleryName.CUSTODY, GalleryName.DECEASED, GalleryName.MISSING)

    def test_what_is_asked_for_is_not_widened(self) -> None:
        asked = builders.submission(purpose=Purpose.MISSING, galleries=(GalleryName.MISSING,))

        assert policy.searchable(asked) == (GalleryName.MISSING,)

    def test_a_suspect_is_not_sought_among_the_missing(self) -> None:
        asked = builders.submission(galleries=(GalleryName.CUSTODY, GalleryName.MISSING))

        with pytest.raises(NotPermitted, match=r"^galleries: .*missing$"):
            policy.searchable(asked)

    @pytest.mark.parametrize("purpose", [Purpose.VICTIM, Purpose.WITNESS])
    def test_people_suspected_of_nothing_need_an_authoriser(self, purpose: Purpose) -> None:
        with pytest.raises(NotPermitted, match=r"^authoriser: "):
            policy.searchable(builders.submission(purpose=purpose))

        with pytest.raises(NotPermitted, match=r"^authoriser: somebody else"):
            policy.searchable(builders.submission(purpose=purpose, authoriser="officer-1", necessity="the only lead"))

        with pytest.raises(NotPermitted, match=r"^necessity: "):
            policy.searchable(builders.submission(purpose=purpose, authoriser="chief-1"))

        asked = builders.submission(purpose=purpose, authoriser="chief-1", necessity="the only lead")
        assert GalleryName.CUSTODY in policy.searchable(asked)

    @pytest.mark.parametrize("purpose", [Purpose.SUSPECT, Purpose.VICTIM, Purpose.WITNESS])
    def test_who_is_sought_for_an_offence_is_sought_under_part_3_alone(self, purpose: Purpose) -> None:
        assert policy.regime_of(purpose, None) is Regime.LAW_ENFORCEMENT
        with pytest.raises(NotPermitted, match=r"^regime: for purpose \w+, say dpa_2018_part_3$"):
            policy.regime_of(purpose, Regime.GENERAL)

    @pytest.mark.parametrize("purpose", [Purpose.MISSING, Purpose.DECEASED])
    def test_of_the_missing_and_the_deceased_the_law_must_be_said(self, purpose: Purpose) -> None:
        assert [policy.regime_of(purpose, said) for said in Regime] == list(Regime)
        with pytest.raises(NotPermitted, match=r"^regime: .* say dpa_2018_part_3 or uk_gdpr$"):
            policy.regime_of(purpose, None)

    def test_a_law_that_the_purpose_does_not_allow_is_refused_wherever_it_comes_from(self) -> None:
        with pytest.raises(NotPermitted, match=r"^regime: "):
            policy.searchable(builders.submission(regime=Regime.GENERAL))

    def test_each_door_admits_its_own_purposes_alone(self) -> None:
        def admitted(purpose: Purpose, source: Source) -> bool:
            try:
                policy.searchable(builders.submission(purpose=purpose, source=source, authoriser="chief-1"))
            except NotPermitted as refusal:
                return not str(refusal).startswith("purpose: ")
            return True

        closed = {(p, s) for p, s in product(Purpose, Source) if not admitted(p, s)}

        assert closed == {
            (Purpose.SUSPECT, Source.MISSING_PERSON),
            (Purpose.SUSPECT, Source.DECEASED_PERSON),
            (Purpose.VICTIM, Source.MISSING_PERSON),
            (Purpose.VICTIM, Source.DECEASED_PERSON),
            (Purpose.WITNESS, Source.MISSING_PERSON),
            (Purpose.WITNESS, Source.DECEASED_PERSON),
            (Purpose.MISSING, Source.DECEASED_PERSON),
            (Purpose.DECEASED, Source.PUBLIC_APPEAL),
            (Purpose.DECEASED, Source.MISSING_PERSON),
        }

    def test_every_purpose_has_a_rule(self) -> None:
        assert set(RULES) == set(Purpose)


class TestUrgency:
    PLACES: dict[Purpose, dict[Harm, int]] = {  # noqa: RUF012 - read only
        Purpose.MISSING: {Harm.CHILD_AT_RISK: 0, Harm.LIFE_AT_RISK: 1, Harm.SERIOUS: 2, Harm.OTHER: 2},
        Purpose.VICTIM: {Harm.CHILD_AT_RISK: 0, Harm.LIFE_AT_RISK: 1, Harm.SERIOUS: 3, Harm.OTHER: 3},
        Purpose.SUSPECT: {Harm.CHILD_AT_RISK: 0, Harm.LIFE_AT_RISK: 1, Harm.SERIOUS: 3, Harm.OTHER: 4},
        Purpose.WITNESS: {Harm.CHILD_AT_RISK: 0, Harm.LIFE_AT_RISK: 1, Harm.SERIOUS: 3, Harm.OTHER: 4},
        Purpose.DECEASED: {Harm.CHILD_AT_RISK: 0, Harm.LIFE_AT_RISK: 1, Harm.SERIOUS: 3, Harm.OTHER: 4},
    }

    @pytest.mark.parametrize("purpose", Purpose)
    @pytest.mark.parametrize("harm", Harm)
    def test_a_child_at_risk_comes_first_whatever_it_is_about(self, purpose: Purpose, harm: Harm) -> None:
        assert policy.urgency(builders.submission(purpose=purpose, harm=harm)) == self.PLACES[purpose][harm]
