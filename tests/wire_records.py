"""Events of every kind, drawn from the types themselves, so that a field added later is tested without being told."""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from pipeline.realtime.events import Event

Strategies = Callable[[type[Event]], st.SearchStrategy[Event]]

_ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5) | st.just([]) | st.just({})
)
_LEAVES: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.AnyType: _ANYTHING,
}


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.StrType():
            return st.text(max_size=kind.max_length or 20)
        case inspect.IntType():
            return st.integers(kind.ge if kind.ge is not None else -(2**53), 2**53)
        case inspect.UnionType():
            return st.one_of([_values(member) for member in kind.types])
        case inspect.ListType():
            return st.lists(_values(kind.item_type), max_size=2)
        case inspect.DictType():
            return st.dictionaries(_values(kind.key_type), _values(kind.value_type), max_size=2)
        case inspect.StructType():
            return records(kind.cls)
        case _:
            return _LEAVES[type(kind)]  # a KeyError here: the wire has a new kind of value


@cache
def records(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Records of one class: an event, or an object that events carry."""

    def build() -> st.SearchStrategy[Any]:
        info = inspect.type_info(cls)
        assert isinstance(info, inspect.StructType)
        needed = {field.name: _values(field.type) for field in info.fields if field.required}
        others = {field.name: _values(field.type) for field in info.fields if not field.required}
        return st.fixed_dictionaries(needed, optional=others).map(lambda values: cls(**values))

    return st.deferred(build)  # TokenDetails holds itself
