"""Reading a network's insides, and stopping it there."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from counterpoint.errors import ModelError

T = TypeVar("T")


class Reached(Exception):
    """Raised by a hook inside a forward pass once the last tap has been read."""


def run_hooked(hooks: Iterable[RemovableHandle], forward: Callable[[], Any]) -> None:
    """Run a network until one of the hooks raises `Reached`; then the hooks are removed.

    Raises:
        ModelError: none did.
    """
    try:
        forward()
    except Reached:
        return
    finally:
        for hook in hooks:
            hook.remove()
    raise ModelError("the network ended before its last tap; please report this")


def run_to_taps(
    modules: dict[str, nn.Module], last: nn.Module, forward: Callable[[], Any]
) -> dict[str, Tensor]:
    """Run a network until the last tap; what lies behind it is not run.

    Args:
        modules: by tap, the module whose output is read.
        last: the one of them that runs last.
        forward: starts the pass.
    """
    found: dict[str, Tensor] = {}
    run_hooked(_readers(modules, found, last), forward)
    return found


def run_with_taps(
    modules: dict[str, nn.Module], forward: Callable[[], T]
) -> tuple[dict[str, Tensor], T]:
    """Run a network to its end; what its taps gave on the way, and what it returned.

    Args:
        modules: by tap, the module whose output is read.
        forward: starts the pass.
    """
    found: dict[str, Tensor] = {}
    hooks = _readers(modules, found)
    try:
        return found, forward()
    finally:
        for hook in hooks:
            hook.remove()


def _readers(
    modules: dict[str, nn.Module], found: dict[str, Tensor], last: nn.Module | None = None
) -> list[RemovableHandle]:
    """Hooks that note the modules' outputs, and raise `Reached` behind the last one."""

    def reader(taps: list[str], module: nn.Module) -> Callable[[Any, Any, Any], None]:
        def read(_module: Any, _inputs: Any, output: Any) -> None:
            value: Tensor = output[0] if isinstance(output, tuple) else output
            for tap in taps:
                found[tap] = value
            if module is last:
                raise Reached

        return read

    return [
        module.register_forward_hook(
            reader([name for name, other in modules.items() if other is module], module)
        )
        for module in set(modules.values())
    ]
