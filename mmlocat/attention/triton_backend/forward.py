"""Forward kernel: computes output and log-sum-exp of one block of queries, over all keys.

It walks over the keys in one of two ways:

- ROWS: a tile is a window of R rows and WP columns of the grid; windows go down the grid, then to the next columns. The
  Gaussian separates, so its factor along x is constant in the inner loop and its factor along y is one number a query
  and grid row: one multiply-add a logit.
- otherwise: BLOCK_N contiguous tokens and one more exponential a logit, for widths that windows would pad too much.

Prefix tokens as keys come first, in their own tiles (BLOCK_P; MANY_P: several), because their bias is 0.
"""

import triton
import triton.language as tl

from .pieces import (
    given_gaussians,
    key_positions,
    load_bias,
    load_rows,
    logits,
    predicted_gaussians,
    query_positions,
    softmax_step,
    squared_distances,
    store_rows,
)

# Triton does not specialise the kernel on the sizes of images.
SIZES = ['heads', 'N', 'P', 'H', 'W', 'rw', 'dmax', 'scale', 'limit', 'shift', 'eps']


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(Q, K, V, GATE, SPOT0, SPOT1, SPOT2, SPOT3, BIAS, OUT, LSE,
                   sqb, sqh, sqn, skb, skh, skn, svb, svh, svn, sgb, sgh, sgn, sbb, sbh, sbm, sbn, sob, soh, son,
                   heads, N, P, H, W, rw, dmax, scale, limit, shift, eps,
                   D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                   WP: tl.constexpr, BLOCK_P: tl.constexpr, MANY_P: tl.constexpr, ROWS: tl.constexpr,
                   EVEN_W: tl.constexpr, IP: tl.constexpr, CLAMP: tl.constexpr, PREDICT: tl.constexpr,
                   HAS_GATE: tl.constexpr, HAS_BIAS: tl.constexpr, WIDE: tl.constexpr):
    """Computes output and log-sum-exp of one block of queries.

    SPOT0 to SPOT3 are weights and biases of the two layers if PREDICT is set, else variance and alpha. GATE is what the
    layers read where that is not Q.
    """
    blocks = (N + BLOCK_M - 1) // BLOCK_M
    bh = tl.program_id(0) // blocks
    b = (bh // heads).to(tl.int64)
    h = (bh % heads).to(tl.int64)
    Q += b * sqb + h * sqh
    K += b * skb + h * skh
    V += b * svb + h * svh
    OUT += b * sob + h * soh
    BIAS += b * sbb + h * sbh
    dims = tl.arange(0, BLOCK_D)
    m = tl.program_id(0) % blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    q = load_rows(Q, m, sqn, dims, m < N, D, BLOCK_D, WIDE)
    t = m - P
    on = (t >= 0) & (m < N)
    qy, qx = query_positions(t, W, rw)
    if PREDICT:
        if HAS_GATE:
            gate = load_rows(GATE + b * sgb + h * sgh, m, sgn, dims, m < N, D, BLOCK_D, WIDE)
        else:
            gate = q
        py, px, a = predicted_gaussians(gate, dims, SPOT0, SPOT1, SPOT2, SPOT3, on, limit, shift, eps, D, BLOCK_M)
    else:
        py, px, a = given_gaussians(SPOT0, SPOT1, bh, t, on, H * W, eps)
    a = a / scale
    c = scale * 1.4426950408889634
    m_i = tl.full([BLOCK_M], float('-inf'), tl.float32)
    l_i = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    n = tl.arange(0, BLOCK_N)
    if BLOCK_P > 0:
        for p0 in range(0, P if MANY_P else 1, BLOCK_P):
            j = p0 + tl.arange(0, BLOCK_P)
            kp = load_rows(K, j, skn, dims, j < P, D, BLOCK_D, WIDE)
            vp = load_rows(V, j, svn, dims, j < P, D, BLOCK_D, WIDE)
            sp = tl.dot(q, tl.trans(kp), input_precision=IP)
            if HAS_BIAS:
                sp += load_bias(BIAS, m, sbm, j, sbn, m < N, j < P, WIDE) / scale
            sp = tl.where((j < P)[None, :], sp, float('-inf'))
            m_i, l_i, acc = softmax_step(sp, vp, m_i, l_i, acc, c, HAS_BIAS, IP)
    if ROWS:
        R: tl.constexpr = BLOCK_N // WP
        column = n % WP
        r = n // WP
        for x0 in range(0, W, WP):
            x = x0 + column
            # Never 0, because a row below the grid has the factor -inf along y.
            gx = tl.maximum(tl.exp2(px[:, None] * squared_distances(qx, x.to(tl.float32), dmax, CLAMP)), 1e-37)
            beyond = tl.where(x < W, 0.0, float('-inf'))
            for y0 in range(0, H, R):
                y = y0 + r
                valid = (x < W) & (y < H)
                tokens = P + y * W + x
                k = load_rows(K, tokens, skn, dims, valid, D, BLOCK_D, WIDE)
                ga = a[:, None] * tl.exp2(py[:, None] * squared_distances(qy, y.to(tl.float32), dmax, CLAMP))
                if R > 1:
                    ga = tl.where((y < H)[None, :], ga, float('-inf'))
                if HAS_BIAS:
                    extra = load_bias(BIAS, m, sbm, tokens, sbn, m < N, valid, WIDE) / scale
                else:
                    extra = 0.0
                s = logits(q, k, ga, gx, beyond, not EVEN_W, extra, HAS_BIAS, IP)
                v = load_rows(V, tokens, svn, dims, valid, D, BLOCK_D, WIDE)
                m_i, l_i, acc = softmax_step(s, v, m_i, l_i, acc, c, HAS_BIAS, IP)
    else:
        number = n.to(tl.float32)
        for start in range(P, N, BLOCK_N):
            tokens = start + n
            k = load_rows(K, tokens, skn, dims, tokens < N, D, BLOCK_D, WIDE)
            y, x = key_positions((start - P).to(tl.float32) + number, W, rw)
            g = tl.exp2(py[:, None] * squared_distances(qy, y, dmax, CLAMP)
                        + px[:, None] * squared_distances(qx, x, dmax, CLAMP))
            if HAS_BIAS:
                extra = load_bias(BIAS, m, sbm, tokens, sbn, m < N, tokens < N, WIDE) / scale
            else:
                extra = 0.0
            s = logits(q, k, tl.broadcast_to(a[:, None], (BLOCK_M, BLOCK_N)), g,
                       tl.where(tokens < N, 0.0, float('-inf')), True, extra, HAS_BIAS, IP)
            v = load_rows(V, tokens, svn, dims, tokens < N, D, BLOCK_D, WIDE)
            m_i, l_i, acc = softmax_step(s, v, m_i, l_i, acc, c, HAS_BIAS, IP)
    lse = (m_i * c + tl.log2(l_i)) * 0.6931471805599453
    if HAS_BIAS:  # a row whose keys are all masked is 0 and has no gradient, which its lse alone could not show
        masked = m_i * c < -1e5
        acc = tl.where(masked[:, None], 0.0, acc)
        l_i = tl.where(masked, 1.0, l_i)
        lse = tl.where(masked, float('inf'), lse)
    store_rows(OUT, m, son, dims, m < N, acc / l_i[:, None], D, BLOCK_D, WIDE)
    tl.store(LSE + bh.to(tl.int64) * N + m, lse, mask=m < N)
