"""What the examples for torch train, and on what: a small transformer, and text that needs no download.

The text is what the modules of Python's standard library say of themselves.
"""

import importlib
import inspect

import torch
import torch.distributed as dist
from torch import nn

CONTEXT = 64
BATCH = 8
WIDTH = 64
LAYERS = 2
MODULES = (
    "argparse asyncio collections csv dataclasses datetime decimal difflib email enum fractions functools heapq "
    "itertools json logging math operator os pathlib pickle random re shutil socket statistics string "
    "struct subprocess tempfile textwrap threading time typing unittest uuid zipfile"
)


def text() -> str:
    """The documentation strings of some modules and of what is in them."""
    found = []
    for name in MODULES.split():
        module = importlib.import_module(name)
        members = [member for _, member in sorted(vars(module).items()) if callable(member)]
        found += [inspect.getdoc(thing) or "" for thing in [module, *members]]
    return "\n".join(found)


class Writer(nn.Module):
    """A transformer that guesses the next character."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(characters, WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.scores = nn.Linear(WIDTH, characters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        x = self.letters(codes) + self.places(torch.arange(CONTEXT))
        return self.scores(self.layers(x, mask=self.mask, is_causal=True))


def codes() -> tuple[torch.Tensor, int]:
    """The text as numbers, and how many characters there are. Collective.

    Every rank must number the characters alike, and another Python may document other things: so rank 0
    hands its text out.
    """
    box = [text() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, 0)
    alphabet = {letter: code for code, letter in enumerate(sorted(set(box[0])))}
    return torch.tensor([alphabet[letter] for letter in box[0]]), len(alphabet)


def train(model: nn.Module, text: torch.Tensor, steps: int, seed: int) -> None:
    """Train on samples that this rank draws by its seed; rank 0 prints the mean loss of all."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    samples = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        starts = torch.randint(len(text) - CONTEXT - 1, (BATCH, 1), generator=samples)
        rows = text[starts + torch.arange(CONTEXT + 1)]
        scores = model(rows[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            mean = loss.detach()
            dist.all_reduce(mean)
            if dist.get_rank() == 0:
                print(f"step {step:4}  loss {mean.item() / dist.get_world_size():.3f}", flush=True)
