"""Models and texts as nobody picked them, drawn from a seed, for columns that are judged (`benchmarks.truth`)."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lig_core.blocks.capture import BlockCall, capture_blocks
from lig_core.blocks.precision import with_wide_arguments, working_precision
from lig_core.loading.inspection import inspect_layer
from lig_core.loading.loaded import PROBE_TEXT, LoadedModel, load_model
from lig_core.models.catalog import find_model
from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.checkpoints import configured, saved, weighted
from tests.models.texts import EMOJI, PUNCTUATION, texts
from tests.models.tiny_models import FAMILIES, VOCABULARY, WORDS

Change = Callable[[nn.Module], None]
KINKED = {
    "bert": "hidden_act",
    "llama": "hidden_act",
    "gpt2": "activation_function",
    "opt_pre_norm": "activation_function",
}
EXPERTS = ("mixtral", "qwen3_moe", "gpt_oss", "phimoe", "llama4_text")
SMALL_EPSILON = ("llama", "bert", "gpt2", "qwen3", "olmo2", "opt_pre_norm")
FEW = ("gemma2", "gemma3_text", "mistral", "modernbert", "gpt_oss", "qwen3", "gpt2", "gpt_neox", "cohere", "olmo2")
FEW += ("phi3", "t5", "t5_gated", "albert", "roberta", "distilbert", "smollm3", "stablelm", "phi", "bart", "starcoder2")
QUERY_OR_KEY = re.compile(r"\.(query|key|q_proj|k_proj)\.weight$")
EPSILONS = ("eps", "variance_epsilon", "epsilon")


DEVICE = "cpu"
"""Where models are computed; a process sets it before it draws any."""


@dataclass(frozen=True)
class Subject:
    """A model, as the product has it, and with the same weights in float64. `name` says how it is made again."""

    name: str
    single: LoadedModel
    double: LoadedModel
    layers: tuple[int, ...]  # that were altered, or all

    @classmethod
    def of(cls, name: str, single: LoadedModel, layers: Collection[int] | None = None) -> Subject:
        model, facts = deepcopy((single.model, single.facts))
        model.config._experts_implementation = "eager"  # the grouped kernels have no float64
        model.config.get_text_config().use_cache = False  # plain layers are called again and again
        double = replace(single, model=model.double(), facts=facts, dtype=torch.float64)
        return cls(name, single, double, tuple(range(single.num_layers)) if layers is None else tuple(layers))

    def in_double(self, layer: int, call: BlockCall) -> BlockCall:
        """The same block, called with the same numbers, in float64: at this z and at no other."""
        paths = {module: path for path, module in self.single.model.named_modules()}
        module = self.double.model.get_submodule(paths[call.module])
        wide = replace(with_wide_arguments(call), module=module)
        with torch.no_grad():
            return replace(wide, out=wide.replay(wide.z, self.double.facts[layer].tiling))


@cache
def real(name: str) -> Subject:
    """A bundled model, or that of a folder."""
    return Subject.of(name, load_model(find_model(name), device=DEVICE))


def altered(base: Subject, how: str, change: Change, layers: Collection[int]) -> Subject:
    """A model with other weights, some of whose layers are inspected anew."""
    model, facts = deepcopy((base.single.model, base.single.facts))
    change(model)
    single = replace(base.single, model=model, facts=facts)
    probe = single.tokenizer(PROBE_TEXT, return_tensors="pt")
    with torch.no_grad(), working_precision(single.dtype):
        (calls,) = capture_blocks(model, {key: x.to(single.device) for key, x in probe.items()})
        facts = tuple(inspect_layer(calls[k]) if k in layers else known for k, known in enumerate(facts))
    return Subject.of(f"{base.name}, {how}", replace(single, facts=facts), layers)


def scaled(base: Subject, drawn: random.Random) -> Subject:
    """Query and key weights of some layers are 2 to 100 times what they were: saturated attention."""
    layers = sorted(drawn.sample(range(base.single.num_layers), 2))
    return sharpened(base, {layer: round(2 * 50 ** drawn.random(), 2) for layer in layers})


def sharpened(base: Subject, factors: Mapping[int, float]) -> Subject:
    """Query and key weights of these layers are so many times what they were."""

    def change(model: nn.Module) -> None:
        for layer, factor in factors.items():
            for name, weight in model.named_parameters():
                if QUERY_OR_KEY.search(name) and f".{layer}." in f".{name}":
                    weight.mul_(factor)

    with torch.no_grad():
        return altered(base, f"q and k weights of layer: times {factors}", change, factors)


def rounded(base: Subject, drawn: random.Random) -> Subject:
    """A checkpoint of 16 bits."""
    dtype = drawn.choice([torch.bfloat16, torch.float16])
    layers = sorted(drawn.sample(range(base.single.num_layers), 2))

    def change(model: nn.Module) -> None:
        for weight in model.parameters():
            weight.copy_(weight.to(dtype))

    with torch.no_grad():
        return altered(base, f"weights stored as {dtype}", change, layers)


def with_epsilon(base: Subject, drawn: random.Random) -> Subject:
    """Norms of another ε."""
    eps = 10 ** drawn.uniform(-12, -5)
    layers = sorted(drawn.sample(range(base.single.num_layers), 2))

    def change(model: nn.Module) -> None:
        for module in model.modules():
            for name in EPSILONS:
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, eps)

    return altered(base, f"norm ε {eps:.3g}", change, layers)


def tiny(drawn: random.Random, family: str, **settings: object) -> Subject:
    """A family's tiny model, its weights drawn, norms and biases too, from its folder."""
    seed, gain = drawn.randrange(2**31), drawn.choice([0.6, 1.2, 2.4])
    generator = torch.Generator().manual_seed(seed)

    def noise(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: _noisy(x, gain, generator) for name, x in sorted(weights.items())}

    with tempfile.TemporaryDirectory() as scratch:
        folder = saved(Path(scratch) / "model", family)
        configured(folder, **settings)
        weighted(folder, noise)
        single = load_model(find_model(str(folder)), device=DEVICE)
    said = "".join(f", {name} {value}" for name, value in settings.items())
    return Subject.of(f"tiny {family}{said}, weights {gain} × N(0, 1/fan-in) of seed {seed}", single)


def _noisy(x: Tensor, gain: float, generator: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    noise = torch.randn(x.shape, generator=generator)
    return x + 0.3 * noise if x.dim() == 1 else gain * noise / x.shape[-1] ** 0.5


def scaled_tiny(drawn: random.Random) -> Subject:
    return scaled(tiny(drawn, drawn.choice(["bert", "llama"])), drawn)


def small_epsilon(drawn: random.Random) -> Subject:
    return with_epsilon(tiny(drawn, drawn.choice(SMALL_EPSILON)), drawn)


def kinked(drawn: random.Random) -> Subject:
    family = drawn.choice(list(KINKED))
    return tiny(drawn, family, **{KINKED[family]: "relu"})


def experts(drawn: random.Random) -> Subject:
    return tiny(drawn, drawn.choice(EXPERTS))


def any_family(drawn: random.Random) -> Subject:
    return tiny(drawn, drawn.choice([name for name in FEW if name in FAMILIES]))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    """
    Anna Omar Lucía Wei Priya John Fatima Igor Chidi Mary Tomás Aiko Ruth Samuel Greta Noor
    """
)
PLACES = _words(
    """
    Lisbon Nairobi Oslo Kyoto Lima Chicago Warsaw Cairo Dublin Quebec Jakarta Vienna Austin Perth
    """
)
NOUNS = _words(
    """
    river committee engine letter garden senator bridge violin market teacher winter bottle argument harbour
    theory kitchen customer forest signal painter budget island hospital window battery contract mountain student
    novel camera vaccine election mirror farmer satellite recipe judge tunnel planet orchestra lawyer database
    glacier protein museum harvest courier anthem cathedral ladder lantern molecule widow printer sparrow treaty
    suitcase
    """
)
VERBS = _words(
    """
    found repaired ignored described sold painted measured forgot followed praised broke carried delayed invented
    questioned built watched replaced lost admired rejected borrowed explained surprised visited divided copied
    """
)
ADJECTIVES = _words(
    """
    old quiet broken expensive green sudden northern famous empty careful strange heavy bright reluctant ancient
    cheap hollow patient frozen modern hungry invisible local wooden silver stubborn generous narrow
    """
)
ADVERBS = _words(
    """
    slowly yesterday rarely together almost never carefully again secretly already often suddenly
    """
)
LINKS = ("because", "although", "while", "after", "so that", "before", "which is why", "unless", ", and", ", but", ";")


def ordinary(drawn: random.Random, words: int) -> str:
    """Sentences, of so many words or a few more."""
    sentences: list[str] = []
    while sum(len(sentence.split()) for sentence in sentences) < words:
        text = _clause(drawn)
        while drawn.random() < 0.45 and len(text.split()) < words:
            link = drawn.choice(LINKS)
            text += f"{'' if link[0] in ',;' else ' '}{link} {_clause(drawn)}"
        sentences.append(text[0].upper() + text[1:] + drawn.choice("....?!"))
    return " ".join(sentences)


def _clause(drawn: random.Random) -> str:
    forms = (
        lambda: f"{_thing(drawn)} {drawn.choice(VERBS)} {_thing(drawn)}",
        lambda: f"{drawn.choice(NAMES)} {drawn.choice(ADVERBS)} {drawn.choice(VERBS)} {_thing(drawn)}",
        lambda: f"{_thing(drawn)} of {drawn.choice(PLACES)} was {drawn.choice(ADJECTIVES)}",
        lambda: (
            f"in {drawn.randint(1500, 2030)} {_thing(drawn)} {drawn.choice(VERBS)} {_thing(drawn)} in "
            f"{drawn.choice(PLACES)}"
        ),
        lambda: f"{drawn.choice(NAMES)} said that {_thing(drawn)} had cost {drawn.randint(2, 9000)} dollars",
        lambda: f"there was no {drawn.choice(NOUNS)} in the {drawn.choice(ADJECTIVES)} {drawn.choice(NOUNS)}",
    )
    return drawn.choice(forms)()


def _thing(drawn: random.Random) -> str:
    adjective = f"{drawn.choice(ADJECTIVES)} " if drawn.random() < 0.5 else ""
    return f"{drawn.choice(['the', 'the', 'a', 'every', 'her', 'their'])} {adjective}{drawn.choice(NOUNS)}"


def adversarial(drawn: random.Random, words: int) -> str:
    """Repetitions, marks, digits, scripts, emoji, code."""
    word = drawn.choice([*NOUNS, "the", "the", "a", "and", "!", "0", "x", "é", "的"])
    name, other = drawn.choice(NOUNS), drawn.choice(NOUNS)
    forms: tuple[Callable[[], str], ...] = (
        lambda: " ".join([word] * words),
        lambda: " ".join([word] * words),
        lambda: drawn.choice([word, drawn.choice(NAMES), "a", "I", "7"]),
        lambda: "".join(drawn.choice(PUNCTUATION) + drawn.choice(["", " "]) for _ in range(words)),
        lambda: drawn.choice("!.-?") * words,
        lambda: str(drawn.randrange(10 ** min(2 * words, 60))),
        lambda: " ".join(str(drawn.randrange(10**6)) for _ in range(max(1, words // 3))),
        lambda: texts(1, drawn.randrange(2**31))[0],
        lambda: " ".join(texts(2, drawn.randrange(2**31))),
        lambda: "".join(drawn.choice(EMOJI) for _ in range(max(1, words // 3))),
        lambda: f"def {name}({other}, n={drawn.randint(0, 99)}):\n    return [{other}[i] for i in range(n)]\n" * 2,
        lambda: "\n".join(f'{{"{name}": [{drawn.random():.6f}, null], "{other}": "{word}"}}' for _ in range(2)),
        lambda: f"{ordinary(drawn, 8)} " * max(1, words // 10),
        lambda: " ".join([name, other] * (words // 2 + 1)),
        lambda: "a" * (2 * words),
    )
    return drawn.choice(forms)()


def tiny_text(drawn: random.Random, words: int) -> str:
    known = [*WORDS.split(), *(f"w{k}" for k in range(30, VOCABULARY))]
    return " ".join(drawn.choice(known) for _ in range(min(words, 40)))
