"""A device that torch takes for one other than the CPU, although it computes on the CPU.

An operation on tensors of two devices is refused, as on a GPU. ``waits`` has the names of
operations for which the program would wait until the device is done: those that read values back,
and copies from one device to the other. Kernels, their limits and random numbers are those of the
CPU.

Importing this makes the device torch's accelerator for the rest of the process, so it is for
programs, not for tests, which share a process. torch provides for such devices and lets them be
written in Python, in a way that is experimental and may change with its next release.
"""

import functools

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet, _ExcludeDispatchKeyGuard
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "pretended"

#: operations whose result the program reads, or whose size depends on values
READ_BACK = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique")
COPIES = ("_to_copy", "copy_")
#: operations that, unlike elementwise ones, accept no single value on the CPU
TOGETHER = ("cat", "stack")

#: names of what the program would have waited for, in order
waits = []


class There(Tensor):
    """A tensor on the device. It wraps ``here``, a tensor on the CPU that has the values."""

    @staticmethod
    def __new__(cls, here):
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        tensor = Tensor._make_wrapper_subclass(
            cls, here.size(), **layout, dtype=here.dtype, device=DEVICE
        )
        tensor.here = here
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})

    # What torch does without an operation, or with a size that Python does not see:

    def data_ptr(self):
        return self.here.data_ptr()

    def tolist(self):
        waits.append("tolist")
        return self.here.tolist()

    def resize_(self, *size):
        torch.utils.swap_tensors(self, There(self.here.resize_(*size)))
        return self

    def __format__(self, form):
        waits.append("format")
        return format(self.here, form)

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, other):
        assert (other.shape, other.dtype) == (self.shape, self.dtype)
        self.here = other.here


class Pretending(TorchDispatchMode):
    """While active, tensors on the device can be created, and copied from the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    """Return what ``function`` returns, on the device of its arguments or on ``device``."""
    name, kwargs = function.overloadpacket.__name__, dict(kwargs)
    tensors = []
    each_tensor(tensors.append, (args, *kwargs.values()))
    are_there = [isinstance(tensor, There) for tensor in tensors]
    goes_there = any(are_there)
    if name == "copy_":
        goes_there = are_there[0]
    elif (device := kwargs.get("device")) is not None:
        goes_there = torch.device(device).type == NAME
        kwargs["device"] = torch.device("cpu")
        kwargs.pop("pin_memory", None)
    if name in COPIES:
        if len({*are_there, goes_there}) > 1:
            # A copy to the CPU always waits, non_blocking or not: memory is not pinned here.
            if not goes_there or not (args[2:] or kwargs.get("non_blocking")):
                waits.append(name)
    elif any(are_there):
        indices = args[1] if "index" in name and isinstance(args[1], list) else []
        indices = [index for index in indices if index is not None]
        _refuse_two_devices(name, tensors, indices)
        moved = any(not isinstance(index, There) for index in indices)
        masks = any(index.dtype == torch.bool for index in indices)  # the number it selects is read
        if name.startswith(READ_BACK) or moved or masks:
            waits.append(name)
    result = function(*each_tensor(here, args), **each_tensor(here, kwargs))
    if not goes_there:
        return result
    result = each_tensor(There, result)
    return return_and_correct_aliasing(function, args, kwargs, result)


def here(tensor):
    return tensor.here if isinstance(tensor, There) else tensor


def each_tensor(change, value):
    """Return ``value`` with the tensors in it changed; torch's own ``tree_map`` is far slower."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: each_tensor(change, part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([each_tensor(change, part) for part in value])
    return value


def _refuse_two_devices(name, tensors, indices):
    """Refuse tensors on the CPU, except indices and single values that are not written to."""
    for number, tensor in enumerate(tensors):
        written = name.endswith("_") and number == 0
        goes_along = not tensor.dim() and name not in TOGETHER and not written
        if not (isinstance(tensor, There) or goes_along or any(tensor is i for i in indices)):
            raise RuntimeError(
                f"{name}: expected all tensors on one device, but one of shape "
                f"{tuple(tensor.shape)} is on the CPU"
            )


# ---- what torch asks of a device ----


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend(rename=NAME, backend_module=_Module())
DEVICE = torch.device(NAME, 0)

_aten, _all = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")


def _made(function):
    """Wrap a factory of torch that ``torch.tensor`` calls where no mode sees it."""

    def kernel(*args, **kwargs):
        kwargs.pop("pin_memory", None)
        return There(function(*args, **{**kwargs, "device": torch.device("cpu")}))

    return kernel


def _copied(source, target, non_blocking=False):
    waits.append("copy_")
    here(target).copy_(here(source))
    return target


_aten.impl("empty_strided", _made(torch.ops.aten.empty_strided.default), "PrivateUse1")
_aten.impl("empty.memory_format", _made(torch.ops.aten.empty.memory_format), "PrivateUse1")
_aten.impl("_copy_from", _copied, "PrivateUse1")

# ---- a model that is moved keeps its parameters and their attributes, as on a GPU ----


def _moving(apply):
    @functools.wraps(apply)
    def moved(module, *args, **kwargs):
        carried = [(parameter, dict(vars(parameter))) for parameter in module.parameters()]
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            apply(module, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)
        for parameter, attributes in carried:
            vars(parameter).update(attributes | vars(parameter))
        return module

    return moved


torch.nn.Module._apply = _moving(torch.nn.Module._apply)

# ---- automatic mixed precision for the operations of our models ----

HALF = ["linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "scaled_dot_product_attention"]
SINGLE = ["layer_norm", "softmax.int", "log_softmax.int", "sum", "sum.dim_IntList", "exp", "log"]
SINGLE += ["cumsum", "nll_loss", "logsumexp", "pow.Tensor_Scalar", "norm.Scalar", "prod", "rsqrt"]
_AUTOCAST = DispatchKeySet(DispatchKey.AutocastPrivateUse1)


def _cast(name, wanted):
    """Make an operation cast its floating-point tensors to the type that ``wanted`` returns."""
    function, _, overload = name.partition(".")
    function = getattr(getattr(torch.ops.aten, function), overload or "default")

    def cast(tensor):
        single = tensor.is_floating_point() and tensor.dtype != torch.float64
        return tensor.to(wanted()) if single else tensor

    def kernel(*args, **kwargs):
        with _ExcludeDispatchKeyGuard(_AUTOCAST):
            args, kwargs = each_tensor(cast, (args, kwargs))
            return function(*args, **kwargs)

    _aten.impl(name, kernel, "AutocastPrivateUse1")


_all.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
for _name in HALF:
    _cast(_name, lambda: torch.get_autocast_dtype(NAME))
for _name in SINGLE:
    _cast(_name, lambda: torch.float32)
