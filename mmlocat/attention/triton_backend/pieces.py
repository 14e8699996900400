"""Functions that the three kernels share: loads, positions, the Gaussian that a query predicts, logits.

Names follow the equation: ``py`` and ``px`` are precisions, ``-0.5 log2(e) / (variance + eps)``: times a squared
distance along an axis they give the Gaussian's exponent, in powers of two; ``a`` is alpha. Logits are kept in units of
q k^T: the bias is divided by the scale, and ``exp2(s * c - m * c)`` with ``c = scale * log2(e)`` is one multiply-add
and one exponential.
"""

import triton
import triton.language as tl

from ..kernel import _LARGEST_ALPHA

LARGEST_ALPHA = tl.constexpr(_LARGEST_ALPHA)
_HAS_GATHER = tl.constexpr(hasattr(tl, 'gather'))  # since Triton 3.3


@triton.jit
def load_rows(base, tokens, stride, dims, valid, D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr):
    """Loads rows of a (N, d) matrix, zeros where not valid."""
    if WIDE:  # tokens * stride passes 2^31
        tokens = tokens.to(tl.int64)
    at = base + tokens[:, None] * stride + dims[None, :]
    if D == BLOCK_D:
        return tl.load(at, mask=valid[:, None], other=0.0)
    else:
        return tl.load(at, mask=valid[:, None] & (dims < D)[None, :], other=0.0)


@triton.jit
def load_all_rows(base, tokens, stride, dims, D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr):
    """Loads rows of a (N, d) matrix, where every token exists."""
    if WIDE:
        tokens = tokens.to(tl.int64)
    at = base + tokens[:, None] * stride + dims[None, :]
    if D == BLOCK_D:
        return tl.load(at)
    else:
        return tl.load(at, mask=(dims < D)[None, :], other=0.0)


@triton.jit
def store_rows(base, tokens, stride, dims, valid, value, D: tl.constexpr, BLOCK_D: tl.constexpr, WIDE: tl.constexpr):
    """Writes rows of a (N, d) matrix in its own dtype, where valid."""
    if WIDE:
        tokens = tokens.to(tl.int64)
    at = base + tokens[:, None] * stride + dims[None, :]
    value = value.to(base.dtype.element_ty)
    if D == BLOCK_D:
        tl.store(at, value, mask=valid[:, None])
    else:
        tl.store(at, value, mask=valid[:, None] & (dims < D)[None, :])


@triton.jit
def load_bias(base, m, stride_m, n, stride_n, valid_m, valid_n, WIDE: tl.constexpr):
    """Loads a tile (queries, keys) of the caller's bias, in float32; zeros where not valid."""
    if WIDE:
        m = m.to(tl.int64)
        n = n.to(tl.int64)
    at = base + m[:, None] * stride_m + n[None, :] * stride_n
    return tl.load(at, mask=valid_m[:, None] & valid_n[None, :], other=0.0).to(tl.float32)


@triton.jit
def load_weights(VAR_W, ALPHA_W, dims, D: tl.constexpr):
    """Loads the rows of the two small layers' weights, d numbers each: variance along y and x, alpha."""
    on = dims < D
    wy = tl.load(VAR_W + dims, mask=on, other=0.0).to(tl.float32)
    wx = tl.load(VAR_W + D + dims, mask=on, other=0.0).to(tl.float32)
    wa = tl.load(ALPHA_W + dims, mask=on, other=0.0).to(tl.float32)
    return wy, wx, wa


@triton.jit
def preactivations(q, wy, wx, wa, VAR_B, ALPHA_B):
    """Computes the three pre-activations of queries, in float32."""
    zy = tl.sum(q * wy[None, :], 1) + tl.load(VAR_B).to(tl.float32)
    zx = tl.sum(q * wx[None, :], 1) + tl.load(VAR_B + 1).to(tl.float32)
    za = tl.sum(q * wa[None, :], 1) + tl.load(ALPHA_B).to(tl.float32)
    return zy, zx, za


@triton.jit
def precision(variance, eps):
    """Computes -0.5 log2(e) / (variance + eps)."""
    return -0.7213475204444817 / (variance + eps)


@triton.jit
def precision_slope(variance, eps):
    """Computes the derivative of the precision by the variance."""
    return 0.7213475204444817 / ((variance + eps) * (variance + eps))


@triton.jit
def softplus(z):
    """Computes log(1 + e^z) to the last digits, also where e^z is small."""
    e = tl.exp(tl.minimum(z, 20.0))
    u = 1.0 + e
    # This is log1p: the rounding of u cancels in the ratio.
    small = tl.where(u == 1.0, e, tl.log(u) * (e / tl.where(u == 1.0, 1.0, u - 1.0)))
    return tl.where(z > 20.0, z, small)


@triton.jit
def query_positions(t, W, rw):
    """Computes row and column of patches from their number, as float32; exact below 2^20 patches."""
    y = ((t.to(tl.float32) + 0.5) * rw).to(tl.int32)
    return y.to(tl.float32), (t - y * W).to(tl.float32)


@triton.jit
def key_positions(t, W, rw):
    """Computes the same for numbers that are float32 already; adding and subtracting 1.5 * 2^23 rounds."""
    y = tl.fma(t, rw, 0.5 * rw - 0.5) + 12582912.0 - 12582912.0
    return y, t - y * W


@triton.jit
def given_gaussians(VARIANCE, ALPHA, bh, t, on, patches, eps):
    """Loads variance (B * h, H*W, 2) and alpha (B * h, H*W) of queries; returns precisions and alpha, 0 where off."""
    at = bh.to(tl.int64) * patches + t
    py = tl.where(on, precision(tl.load(VARIANCE + at * 2, mask=on, other=0.0).to(tl.float32), eps), 0.0)
    px = tl.where(on, precision(tl.load(VARIANCE + at * 2 + 1, mask=on, other=0.0).to(tl.float32), eps), 0.0)
    return py, px, tl.load(ALPHA + at, mask=on, other=0.0).to(tl.float32)


@triton.jit
def predicted_gaussians(gate, dims, VAR_W, VAR_B, ALPHA_W, ALPHA_B, on, limit, shift, eps, D: tl.constexpr,
                        BLOCK_M: tl.constexpr):
    """Predicts precisions and alpha of queries from their gate tile; 0 for prefix tokens, so that their bias is 0."""
    wy, wx, wa = load_weights(VAR_W, ALPHA_W, dims, D)
    zy, zx, za = preactivations(gate.to(tl.float32), wy, wx, wa, VAR_B, ALPHA_B)
    py = tl.where(on, precision(limit * tl.sigmoid(zy - shift), eps), 0.0)
    px = tl.where(on, precision(limit * tl.sigmoid(zx - shift), eps), 0.0)
    a = tl.where(on, tl.minimum(softplus(za), LARGEST_ALPHA), 0.0)
    if _HAS_GATHER:
        # This only changes the layout: unlike a sum, the compiler moves a gather to the layout of the products, and
        # otherwise it would convert layouts inside the loop.
        same = tl.arange(0, BLOCK_M)
        py, px, a = tl.gather(py, same, 0), tl.gather(px, same, 0), tl.gather(a, same, 0)
    return py, px, a


@triton.jit
def squared_distances(p, t, dmax, CLAMP: tl.constexpr):
    """Computes squared distances (queries, keys) along an axis; CLAMP is set for grids larger than pretraining's."""
    d = p[:, None] - t[None, :]
    if CLAMP:
        return tl.minimum(d * d, dmax)
    else:
        return d * d


@triton.jit
def logits(q, k, left, right, beyond, HAS_BEYOND: tl.constexpr, extra, HAS_BIAS: tl.constexpr, IP: tl.constexpr):
    """Computes q k^T + left * right + beyond + extra; all but q k^T is the initial accumulator of the product."""
    bias = left * right
    if HAS_BEYOND:
        bias += beyond[None, :]
    if HAS_BIAS:
        bias += extra
    return tl.dot(q, tl.trans(k), acc=bias, input_precision=IP)


@triton.jit
def softmax_step(s, v, m_i, l_i, acc, c, HAS_BIAS: tl.constexpr, IP: tl.constexpr):
    """Adds one tile of logits to the running maximum, sum and output of the softmax."""
    m_new = tl.maximum(m_i, tl.max(s, 1))
    if HAS_BIAS:  # it may be -inf for a whole tile of keys, and -inf - -inf is NaN
        m_new = tl.maximum(m_new, -1e30)
    p = tl.exp2(s * c - (m_new * c)[:, None])
    correction = tl.exp2((m_i - m_new) * c)
    l_i = l_i * correction + tl.sum(p, 1)
    acc = acc * correction[:, None]
    acc = tl.dot(p.to(v.dtype), v, acc=acc, input_precision=IP)
    return m_new, l_i, acc


@triton.jit
def score_gradients(s, lse2, do, v, delta, c, IP: tl.constexpr):
    """Computes the gradient of one tile's logits, dS = P * (dO v^T - delta)."""
    p = tl.exp2(s * c - lse2[:, None])
    dp = tl.dot(do, tl.trans(v), input_precision=IP)
    return p * (dp - delta[:, None])
