"""Which model serves: nobody works with another, and templates of two are never mixed."""

from collections.abc import Sequence

import builders
import pytest

from rfr_stream.errors import Unavailable
from rfr_stream.events import FaceEmbedded, ModelIdentity
from rfr_stream.ports import Served
from rfr_stream.stages import SearchRules, require_serving, search_by_model

OLD = Served("old", builders.identity("old"), 0.4, builders.NOW)
NEW = Served("new", builders.identity("new"), 0.6, builders.NOW)


def test_where_no_model_was_changed_the_settings_say_which_serves() -> None:
    require_serving((), OLD.embedder)


def test_only_the_model_that_serves_may_work_and_the_others_are_told_which_that_is() -> None:
    require_serving((NEW, OLD), NEW.embedder)
    with pytest.raises(Unavailable, match="RFR_VISION__PACK: the gallery is served by the pack new"):
        require_serving((NEW, OLD), OLD.embedder)


def embedded(model: ModelIdentity, case_ref: str) -> FaceEmbedded:
    event = builders.face_embedded(builders.submission(case_ref=case_ref))
    return event.model_copy(update={"template": builders.template(embedder=model)})


async def test_each_template_is_searched_among_its_own_models_by_its_threshold_and_keeps_its_place() -> None:
    asked: list[tuple[str, float, list[str]]] = []

    async def search(batch: Sequence[FaceEmbedded], model: ModelIdentity, rules: SearchRules) -> Sequence[str]:
        cases = [event.submission.case_ref for event in batch]
        asked.append((model.name, rules.threshold, cases))
        return cases

    rules = {each.embedder: SearchRules(each.threshold, 3, 2) for each in (NEW, OLD)}
    models = (NEW.embedder, OLD.embedder, NEW.embedder, builders.identity("stranger"), OLD.embedder)
    batch = [embedded(model, f"case-{n}") for n, model in enumerate(models)]
    assert await search_by_model(batch, rules, NEW.embedder, search) == [f"case-{n}" for n in range(5)]
    # A stranger's goes where it is refused.
    assert asked == [("new", 0.6, ["case-0", "case-2", "case-3"]), ("old", 0.4, ["case-1", "case-4"])]
