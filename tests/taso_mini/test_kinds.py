"""What a rule's operators say about the kinds of its variables."""

from taso_mini.kinds import SIGNATURES, least_kinds
from taso_mini.operator_set import OPERATORS
from taso_mini.terms import term, variable

X, Y, Z = (variable(name, "tensor") for name in "xyz")


def test_every_operator_has_a_signature_of_its_arity():
    for name in set(OPERATORS) & set(SIGNATURES):
        if name != "enlarge":
            assert len(SIGNATURES[name][0]) == OPERATORS[name].arity
    assert not set(OPERATORS) - set(SIGNATURES)


def test_one_side_says_what_the_other_leaves_open():
    kinds = least_kinds([term("relu", X), term("matmul", X, Y), term("add", Z, Z)])
    assert kinds == {X: "matrix", Y: "matrix", Z: "tensor"}


def test_a_tensor_used_as_image_and_as_kernel_is_a_kernel_whatever_comes_first():
    assert least_kinds([term("conv", X, X)]) == {X: "kernel"}
    assert least_kinds([term("conv", X, Y), term("conv", Y, Z)]) == {X: "image", Y: "kernel", Z: "kernel"}
    assert least_kinds([term("conv", Y, Z), term("conv", X, Y)]) == {X: "image", Y: "kernel", Z: "kernel"}


def test_what_is_known_otherwise_counts_only_where_operators_are_silent():
    whole = term("concat", X, Y, axis=0)
    assert least_kinds([whole], {whole: "image"}) == {X: "image", Y: "image"}
    assert least_kinds([term("conv", Z, whole)], {whole: "image"})[X] == "kernel"
