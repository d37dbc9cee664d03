"""Reading a network's insides, and stopping it there."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from counterpoint.errors import ModelError


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

    def reader(taps: list[str], module: nn.Module) -> Callable[[Any, Any, Any], None]:
        def read(_module: Any, _inputs: Any, output: Any) -> None:
            value: Tensor = output[0] if isinstance(output, tuple) else output
            for tap in taps:
                found[tap] = value
            if module is last:
                raise Reached

        return read

    hooks = [
        module.register_forward_hook(
            reader([name for name, other in modules.items() if other is module], module)
        )
        for module in set(modules.values())
    ]
    run_hooked(hooks, forward)
    return found
