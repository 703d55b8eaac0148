"""Conditions in the grammar that services and columns in memory understand, on columns that rows lack at times."""

from hypothesis import strategies as st

_LEAVES = st.sampled_from([
    "width = 1", "width <> 5", "width < 5", "width >= 1", "label = 'a'", "label != 'b''c'", "label IN ('a', 'z')",
    "label NOT IN ('a', 'b''c')", "width BETWEEN 0 AND 4", "aspect NOT BETWEEN 1 AND 3", "label IS NULL",
    "aspect IS NOT NULL", "true", "false", '"width" > -1.5e0',
])  # fmt: skip
CONDITIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        inner.map("NOT ({})".format), st.tuples(inner, inner).map("({0[0]}) AND ({0[1]})".format),
        st.tuples(inner, inner).map("({0[0]} or {0[1]})".format),
    ),
    max_leaves=6,
)  # fmt: skip
