"""exp, tanh, erf and sigmoid of float32 vectors as short polynomials.

Each is plain vector arithmetic over gcc's and clang's vector types, so it works at any width. Largest errors, measured
against float64 over the whole range (tests/runtime/test_c_polynomials.py holds them):

| function | error |
|---|---|
| exp | 1e-7 relative above -87.3; 0 below, infinity above 88.7 |
| tanh | 3e-7 relative |
| sigmoid | 3e-7 relative |
| erf | 6e-7 absolute |
"""

from __future__ import annotations

# n = round(x / ln 2), by adding and subtracting 1.5 * 2**23; exp(x) = 2**n * exp(r) with |r| <= ln 2 / 2, ln 2 in two
# parts. The polynomial is Cephes' expf. Limits come first in min and max, so that a NaN passes through. 2**n is built
# in two factors so that results near the largest and smallest floats do not overflow on the way.
_EXP = """static inline f32xN exp_f32xN(f32xN x)
{
    f32xN y = min_f32xN(splat_f32xN(89.0f), max_f32xN(splat_f32xN(-104.0f), x));
    f32xN n = (y * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
    f32xN r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
    f32xN p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
               + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    i32xN k = __builtin_convertvector(n, i32xN), half = k >> 1;
    f32xN a = (f32xN)((half + 127) << 23), b = (f32xN)((k - half + 127) << 23);
    return p * a * b;
}"""
# Eigen's rational approximation, odd 13 over even 6.
_TANH = """static inline f32xN tanh_f32xN(f32xN x)
{
    f32xN y = min_f32xN(splat_f32xN(7.90531110763549805f), max_f32xN(splat_f32xN(-7.90531110763549805f), x));
    f32xN s = y * y;
    f32xN p = -2.76076847742355e-16f * s + 2.00018790482477e-13f;
    p = ((((p * s - 8.60467152213735e-11f) * s + 5.12229709037114e-08f) * s + 1.48572235717979e-05f) * s
         + 6.37261928875436e-04f) * s + 4.89352455891786e-03f;
    f32xN q = ((1.19825839466702e-06f * s + 1.18534705686654e-04f) * s + 2.26843463243900e-03f) * s
              + 4.89352518554385e-03f;
    return y * p / q;
}"""
_SIGMOID = """static inline f32xN sigmoid_f32xN(f32xN x)
{
    return 1.0f / (1.0f + exp_f32xN(-x));
}"""
# Eigen's rational approximation, odd 13 over even 8.
_ERF = """static inline f32xN erf_f32xN(f32xN x)
{
    f32xN y = min_f32xN(splat_f32xN(4.0f), max_f32xN(splat_f32xN(-4.0f), x));
    f32xN s = y * y;
    f32xN p = -2.72614225801306e-10f * s + 2.77068142495902e-08f;
    p = ((((p * s - 2.10102402082508e-06f) * s - 5.69250639462346e-05f) * s - 7.34990630326855e-04f) * s
         - 2.95459980854025e-03f) * s - 1.60960333262415e-02f;
    f32xN q = (((-1.45660718464996e-05f * s - 2.13374055278905e-04f) * s - 1.68282697438203e-03f) * s
               - 7.37332916720468e-03f) * s - 1.42647390514189e-02f;
    return y * p / q;
}"""
POLYNOMIALS = {"exp": _EXP, "tanh": _TANH, "sigmoid": _SIGMOID, "erf": _ERF}


def polynomial(name: str, lanes: int) -> str:
    """The C function `name_f32x<lanes>`."""
    return POLYNOMIALS[name].replace("xN", f"x{lanes}")
