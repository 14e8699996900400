"""First backward kernel: for one block of queries over all keys, computes dq, the Gaussian's gradients, dS of a bias.

With G the Gaussian, Dy and Dx squared distances and dS the gradient of the logits:

    dq = dS k * scale,  d alpha = sum_k dS * G,  d precision = alpha * ln 2 * sum_k dS * G * (Dy, Dx).

Variance and alpha are predicted again, and their gradients are propagated through the two layers here: into dq (or the
gate query's gradient), and into one row of 3d + 3 sums a block for the layers' weights; rows are added up outside, in
order. The kernel also writes six numbers a query, the record, from which the kernel of keys reads the query's values.
"""

import triton
import triton.language as tl

from .forward import SIZES
from .pieces import (
    LARGEST_ALPHA,
    given_gaussians,
    key_positions,
    load_bias,
    load_rows,
    load_weights,
    logits,
    preactivations,
    precision_slope,
    predicted_gaussians,
    query_positions,
    score_gradients,
    softplus,
    squared_distances,
    store_rows,
)


@triton.jit(do_not_specialize=[*SIZES, 'padded'])
def queries_kernel(Q, K, V, GATE, SPOT0, SPOT1, SPOT2, SPOT3, BIAS, OUT, LSE, DO, RECORD, DQ, DGATE, DSPOT0, DSPOT1,
                   DBIAS,
                   sqb, sqh, sqn, skb, skh, skn, svb, svh, svn, sgb, sgh, sgn, sbb, sbh, sbm, sbn, sob, soh, son,
                   seb, seh, sen,
                   heads, N, P, H, W, rw, dmax, scale, limit, shift, eps, padded,
                   D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                   WP: tl.constexpr, BLOCK_P: tl.constexpr, MANY_P: tl.constexpr, ROWS: tl.constexpr,
                   EVEN_W: tl.constexpr, IP: tl.constexpr, CLAMP: tl.constexpr, PREDICT: tl.constexpr,
                   HAS_GATE: tl.constexpr, HAS_BIAS: tl.constexpr, WIDE: tl.constexpr, WANT_Q: tl.constexpr,
                   WANT_GAUSSIAN: tl.constexpr, WANT_LAYERS: tl.constexpr, WANT_GATE: tl.constexpr,
                   WANT_BIAS: tl.constexpr, TILE_SUMS: tl.constexpr):
    """Computes dq of one block of queries, and the sums from which the gradients of the Gaussians follow.

    WANT_GAUSSIAN asks for the gradients of variance and alpha, WANT_LAYERS for those of the weights that predict them,
    which go to DSPOT0.

    OUT, DQ and DGATE have the layout (B, N, h, d); DO has the strides ``se*``.
    """
    blocks = padded // BLOCK_M
    block = tl.program_id(0) % blocks
    bh = tl.program_id(0) // blocks
    b = (bh // heads).to(tl.int64)
    h = (bh % heads).to(tl.int64)
    Q += b * sqb + h * sqh
    K += b * skb + h * skh
    V += b * svb + h * svh
    BIAS += b * sbb + h * sbh
    GATE += b * sgb + h * sgh
    dims = tl.arange(0, BLOCK_D)
    m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    q = load_rows(Q, m, sqn, dims, m < N, D, BLOCK_D, WIDE)
    do = load_rows(DO + b * seb + h * seh, m, sen, dims, m < N, D, BLOCK_D, WIDE)
    out = load_rows(OUT + b * sob + h * soh, m, son, dims, m < N, D, BLOCK_D, WIDE)
    delta = tl.sum(do.to(tl.float32) * out.to(tl.float32), 1)
    # +inf beyond the last query makes its probabilities 0.
    lse2 = tl.load(LSE + bh.to(tl.int64) * N + m, mask=m < N, other=float('inf')) * 1.4426950408889634
    t = m - P
    patches = (t >= 0) & (m < N)
    qy, qx = query_positions(t, W, rw)
    if PREDICT:
        if HAS_GATE:
            gate = load_rows(GATE, m, sgn, dims, m < N, D, BLOCK_D, WIDE)
        else:
            gate = q
        py, px, alpha = predicted_gaussians(gate, dims, SPOT0, SPOT1, SPOT2, SPOT3, patches, limit, shift, eps, D,
                                            BLOCK_M)
    else:
        py, px, alpha = given_gaussians(SPOT0, SPOT1, bh, t, patches, H * W, eps)
    a = alpha / scale
    # Stored as pairs, so that the kernel of keys loads 64 bits at a time.
    record = RECORD + bh.to(tl.int64) * (6 * padded) + 2 * m
    tl.store(record, py)
    tl.store(record + 1, px)
    tl.store(record + 2 * padded, a)
    tl.store(record + 2 * padded + 1, lse2)
    tl.store(record + 4 * padded, delta)
    tl.store(record + 4 * padded + 1, qy)
    if WANT_Q or WANT_GAUSSIAN or WANT_BIAS:
        c = scale * 1.4426950408889634
        dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
        sum_a = tl.zeros([BLOCK_M], tl.float32)
        sum_y = tl.zeros([BLOCK_M], tl.float32)
        sum_x = tl.zeros([BLOCK_M], tl.float32)
        n = tl.arange(0, BLOCK_N)
        grad_bias = DBIAS + bh.to(tl.int64) * N * N + m.to(tl.int64)[:, None] * N
        if BLOCK_P > 0:
            for p0 in range(0, P if MANY_P else 1, BLOCK_P):
                j = p0 + tl.arange(0, BLOCK_P)
                kp = load_rows(K, j, skn, dims, j < P, D, BLOCK_D, WIDE)
                vp = load_rows(V, j, svn, dims, j < P, D, BLOCK_D, WIDE)
                sp = tl.dot(q, tl.trans(kp), input_precision=IP)
                if HAS_BIAS:
                    sp += load_bias(BIAS, m, sbm, j, sbn, m < N, j < P, WIDE) / scale
                sp = tl.where((j < P)[None, :], sp, float('-inf'))
                dsp = score_gradients(sp, lse2, do, vp, delta, c, IP)
                if WANT_BIAS:
                    tl.store(grad_bias + j[None, :], dsp, mask=(m < N)[:, None] & (j < P)[None, :])
                if WANT_Q:
                    dq = tl.dot(dsp.to(kp.dtype), kp, acc=dq, input_precision=IP)
        if ROWS:
            R: tl.constexpr = BLOCK_N // WP
            column = n % WP
            r = n // WP
            for x0 in range(0, W, WP):
                x = x0 + column
                dx2 = squared_distances(qx, x.to(tl.float32), dmax, CLAMP)
                gx = tl.maximum(tl.exp2(px[:, None] * dx2), 1e-37)
                beyond = tl.where(x < W, 0.0, float('-inf'))
                if TILE_SUMS:
                    tile_a = tl.zeros([BLOCK_M, WP], tl.float32)
                    tile_y = tl.zeros([BLOCK_M, WP], tl.float32)
                for y0 in range(0, H, R):
                    y = y0 + r
                    valid = (x < W) & (y < H)
                    tokens = P + y * W + x
                    k = load_rows(K, tokens, skn, dims, valid, D, BLOCK_D, WIDE)
                    dy2 = squared_distances(qy, y.to(tl.float32), dmax, CLAMP)
                    gy = tl.exp2(py[:, None] * dy2)
                    ga = a[:, None] * gy
                    if R > 1:
                        ga = tl.where((y < H)[None, :], ga, float('-inf'))
                    if HAS_BIAS:
                        extra = load_bias(BIAS, m, sbm, tokens, sbn, m < N, valid, WIDE) / scale
                    else:
                        extra = 0.0
                    s = logits(q, k, ga, gx, beyond, not EVEN_W, extra, HAS_BIAS, IP)
                    v = load_rows(V, tokens, svn, dims, valid, D, BLOCK_D, WIDE)
                    ds = score_gradients(s, lse2, do, v, delta, c, IP)
                    if WANT_BIAS:
                        tl.store(grad_bias + tokens[None, :], ds, mask=(m < N)[:, None] & valid[None, :])
                    if WANT_Q:
                        dq = tl.dot(ds.to(k.dtype), k, acc=dq, input_precision=IP)
                    if WANT_GAUSSIAN:
                        if TILE_SUMS:  # sums over grid rows only; those over columns follow after the loop
                            tile_a += tl.sum(tl.reshape(ds * gy, (BLOCK_M, R, WP)), 1)
                            tile_y += tl.sum(tl.reshape(ds * (gy * dy2), (BLOCK_M, R, WP)), 1)
                        else:
                            ds = ds * gx
                            sum_a += tl.sum(ds * gy, 1)
                            sum_y += tl.sum(ds * (gy * dy2), 1)
                            sum_x += tl.sum(ds * gy * dx2, 1)
                if TILE_SUMS and WANT_GAUSSIAN:
                    tx2 = squared_distances(qx, (x0 + tl.arange(0, WP)).to(tl.float32), dmax, CLAMP)
                    tx = tl.exp2(px[:, None] * tx2)
                    sum_x += tl.sum(tile_a * (tx * tx2), 1)
                    sum_a += tl.sum(tile_a * tx, 1)
                    sum_y += tl.sum(tile_y * tx, 1)
        else:
            number = n.to(tl.float32)
            for start in range(P, N, BLOCK_N):
                tokens = start + n
                k = load_rows(K, tokens, skn, dims, tokens < N, D, BLOCK_D, WIDE)
                y, x = key_positions((start - P).to(tl.float32) + number, W, rw)
                dy2 = squared_distances(qy, y, dmax, CLAMP)
                dx2 = squared_distances(qx, x, dmax, CLAMP)
                g = tl.exp2(py[:, None] * dy2 + px[:, None] * dx2)
                if HAS_BIAS:
                    extra = load_bias(BIAS, m, sbm, tokens, sbn, m < N, tokens < N, WIDE) / scale
                else:
                    extra = 0.0
                s = logits(q, k, tl.broadcast_to(a[:, None], (BLOCK_M, BLOCK_N)), g,
                           tl.where(tokens < N, 0.0, float('-inf')), True, extra, HAS_BIAS, IP)
                v = load_rows(V, tokens, svn, dims, tokens < N, D, BLOCK_D, WIDE)
                ds = score_gradients(s, lse2, do, v, delta, c, IP)
                if WANT_BIAS:
                    tl.store(grad_bias + tokens[None, :], ds, mask=(m < N)[:, None] & (tokens < N)[None, :])
                if WANT_Q:
                    dq = tl.dot(ds.to(k.dtype), k, acc=dq, input_precision=IP)
                if WANT_GAUSSIAN:
                    ds = ds * g
                    sum_a += tl.sum(ds, 1)
                    sum_y += tl.sum(ds * dy2, 1)
                    sum_x += tl.sum(ds * dx2, 1)
        dq *= scale
        if WANT_GAUSSIAN:
            factor = alpha * 0.6931471805599453
            sum_y *= factor
            sum_x *= factor
            if PREDICT:
                if HAS_GATE:
                    gate = load_rows(GATE, m, sgn, dims, m < N, D, BLOCK_D, WIDE).to(tl.float32)
                else:  # loaded again, instead of kept in registers over the loop
                    gate = load_rows(Q, m, sqn, dims, m < N, D, BLOCK_D, WIDE).to(tl.float32)
                wy, wx, wa = load_weights(SPOT0, SPOT2, dims, D)
                zy, zx, za = preactivations(gate, wy, wx, wa, SPOT1, SPOT3)
                gy = tl.where(patches, sum_y * _prediction_slope(zy, limit, shift, eps), 0.0)
                gx = tl.where(patches, sum_x * _prediction_slope(zx, limit, shift, eps), 0.0)
                slope = tl.where(za > 20.0, 1.0, tl.sigmoid(za))
                ga = tl.where(patches & (softplus(za) <= LARGEST_ALPHA), sum_a * slope, 0.0)
                grad_gate = gy[:, None] * wy[None, :] + gx[:, None] * wx[None, :] + ga[:, None] * wa[None, :]
                if WANT_GATE:
                    store_rows(DGATE + b * sob + h * soh, m, son, dims, m < N, grad_gate, D, BLOCK_D, WIDE)
                elif not HAS_GATE:
                    dq += grad_gate
                if WANT_LAYERS:
                    row = DSPOT0 + (bh.to(tl.int64) * blocks + block) * (3 * D + 3)
                    tl.store(row + dims, tl.sum(gate * gy[:, None], 0), mask=dims < D)
                    tl.store(row + D + dims, tl.sum(gate * gx[:, None], 0), mask=dims < D)
                    tl.store(row + 2 * D + dims, tl.sum(gate * ga[:, None], 0), mask=dims < D)
                    tl.store(row + 3 * D, tl.sum(gy, 0))
                    tl.store(row + 3 * D + 1, tl.sum(gx, 0))
                    tl.store(row + 3 * D + 2, tl.sum(ga, 0))
            else:
                at = bh.to(tl.int64) * (H * W) + t
                vy = tl.load(SPOT0 + at * 2, mask=patches, other=0.0).to(tl.float32)
                vx = tl.load(SPOT0 + at * 2 + 1, mask=patches, other=0.0).to(tl.float32)
                tl.store(DSPOT0 + at * 2, sum_y * precision_slope(vy, eps), mask=patches)
                tl.store(DSPOT0 + at * 2 + 1, sum_x * precision_slope(vx, eps), mask=patches)
                tl.store(DSPOT1 + at, sum_a, mask=patches)
        if WANT_Q:
            store_rows(DQ + b * sob + h * soh, m, son, dims, m < N, dq, D, BLOCK_D, WIDE)


@triton.jit
def _prediction_slope(z, limit, shift, eps):
    """Returns the derivative of the precision by the pre-activation of its variance."""
    probability = tl.sigmoid(z - shift)
    return precision_slope(limit * probability, eps) * limit * probability * (1.0 - probability)
