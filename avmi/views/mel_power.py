"""Mono samples, a window and a mel bank → the mel power of every STFT frame, eight frames at a time.

Each lane of a vector register holds another frame, so a Fourier transform of eight frames costs what one frame
does in scalars, and nothing has to be moved between lanes. The transform is Stockham's in passes of eight
(C. Van Loan, Computational Frameworks for the Fast Fourier Transform, 1992, section 1.7), of half the length on
even samples as real and odd ones as imaginary parts. The window is at most half as long as the transform, so half
of the first pass's inputs are zeros, and are left out; where the window stands among the zeros turns phases only.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def, no-untyped-call"

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int64
from numba import njit

from avmi.views.lanes import LANES, load, splat, store, transposed

_TERMS = 4  # sums that run beside each other: one alone would wait for itself
_ROOT_HALF = np.float32(np.sqrt(0.5))
_QUARTER, _ZERO = np.float32(0.25), np.float32(0)


@dataclass(frozen=True)
class MelPlan:
    """What the transform of one setting needs, made once."""

    window: Float32[np.ndarray, "taps"]  # filled up with zeros to a multiple of LANES
    window_samples: int
    hop_samples: int
    fft_samples: int
    turns: tuple[Float32[np.ndarray, "half"], Float32[np.ndarray, "half"]]  # roots of unity, half the length
    half_turns: tuple[Float32[np.ndarray, "_"], Float32[np.ndarray, "_"]]  # of the whole length
    first_bins: Int64[np.ndarray, "mel_bins"]  # where each mel filter begins
    weight_counts: Int64[np.ndarray, "mel_bins"]  # multiples of _TERMS
    weights: Float32[np.ndarray, "_"]  # the filters, one after another, each filled up with zeros


def make_plan(
    window: Float32[np.ndarray, "window_samples"],
    bank: Float32[np.ndarray, "bins mel_bins"],
    *,
    hop_samples: int,
) -> MelPlan:
    """Prepare for this window and mel bank; the bank has fft_samples / 2 + 1 bins, a power of two and one."""
    fft_samples = 2 * (len(bank) - 1)
    if fft_samples < 16 or fft_samples & (fft_samples - 1) or 2 * len(window) > fft_samples:
        raise ValueError(f"a window of {len(window)} samples and an FFT of {fft_samples} do not fit")
    filters, first_bins = [], []
    for weights in bank.T:
        heard = np.flatnonzero(weights)
        begin, end = (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, 0)
        filters.append(np.pad(weights[begin:end], (0, -(end - begin) % _TERMS)))
        first_bins.append(begin)
    angles = 2 * np.pi * np.arange(fft_samples // 2) / fft_samples
    coarse = 2 * angles
    return MelPlan(
        window=np.pad(window, (0, -len(window) % LANES)).astype(np.float32),
        window_samples=len(window),
        hop_samples=hop_samples,
        fft_samples=fft_samples,
        turns=(np.cos(coarse).astype(np.float32), -np.sin(coarse).astype(np.float32)),
        half_turns=(np.cos(angles).astype(np.float32), -np.sin(angles).astype(np.float32)),
        first_bins=np.array(first_bins, dtype=np.int64),
        weight_counts=np.array([len(weights) for weights in filters], dtype=np.int64),
        weights=np.concatenate(filters).astype(np.float32),
    )


def mel_power(
    samples: Float32[np.ndarray, "samples"], plan: MelPlan
) -> Float32[np.ndarray, "mel_bins time_bins"]:
    """Transform every window that lies wholly inside the samples."""
    frames = 1 + (len(samples) - plan.window_samples) // plan.hop_samples
    # Eight frames are computed at least, and whole registers are read.
    needed = (max(frames, LANES) - 1) * plan.hop_samples + len(plan.window)
    if needed > len(samples) or not samples.flags.carray or samples.dtype != np.float32:
        # Arrays that are read-only or not contiguous would be other types to numba, compiled anew.
        whole = np.zeros(max(needed, len(samples)), dtype=np.float32)
        whole[: len(samples)] = samples
        samples = whole
    power = np.empty((len(plan.first_bins), max(frames, LANES)), dtype=np.float32)
    length = plan.fft_samples // 2
    room = np.empty((5, (length + 1 + _TERMS) * LANES), dtype=np.float32)
    room[4] = 0  # of the power; a filter's zeros reach behind its end
    _every_frame(
        samples, plan.window, plan.hop_samples, length, *plan.turns, *plan.half_turns,
        plan.first_bins, plan.weight_counts, plan.weights, room, power,
    )  # fmt: skip
    return np.ascontiguousarray(power[:, :frames])


def _compiled(function):
    """Compile a kernel, kept on disk for the next process where that can be written."""
    try:
        return njit(error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return njit(error_model="numpy")(function)


@njit(error_model="numpy")
@no_type_check
def _fill(samples, start, hop, window, re, im):
    """Cut eight frames, weigh them with the window, and lay them side by side."""
    for tap in range(0, window.size, LANES):
        weight, at = load(window, tap), start + tap
        rows = transposed(
            load(samples, at) * weight,
            load(samples, at + hop) * weight,
            load(samples, at + 2 * hop) * weight,
            load(samples, at + 3 * hop) * weight,
            load(samples, at + 4 * hop) * weight,
            load(samples, at + 5 * hop) * weight,
            load(samples, at + 6 * hop) * weight,
            load(samples, at + 7 * hop) * weight,
        )
        out = LANES * (tap // 2)
        for pair in range(4):
            store(re, out + LANES * pair, rows[2 * pair])
            store(im, out + LANES * pair, rows[2 * pair + 1])


@njit(error_model="numpy")
@no_type_check
def _four(ar, ai, br, bi, cr, ci, dr, di):
    """Fourier transform of four complex numbers."""
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, bi - di, dr - br
    return er + gr, ei + gi, fr + hr, fi + hi, er - gr, ei - gi, fr - hr, fi - hi


@njit(error_model="numpy")
@no_type_check
def _odd_four(ar, ai, br, bi, cr, ci, dr, di):
    """Fourier transform of four complex numbers, the i-th turned by i eighths of a circle before."""
    root, zero = splat(_ROOT_HALF), splat(_ZERO)
    return _four(
        ar, ai, (br + bi) * root, (bi - br) * root, ci, zero - cr, (di - dr) * root, (zero - dr - di) * root
    )


@njit(error_model="numpy")
@no_type_check
def _put(re, im, at, real, imaginary, turn_re, turn_im, turn):
    """Store a complex number, turned."""
    c, d = splat(turn_re[turn]), splat(turn_im[turn])
    store(re, at, real * c - imaginary * d)
    store(im, at, real * d + imaginary * c)


@njit(error_model="numpy")
@no_type_check
def _put_eight(re, im, at, apart, even, odd, turn_re, turn_im, turn):
    store(re, at, even[0])
    store(im, at, even[1])
    _put(re, im, at + apart, odd[0], odd[1], turn_re, turn_im, turn)
    _put(re, im, at + 2 * apart, even[2], even[3], turn_re, turn_im, 2 * turn)
    _put(re, im, at + 3 * apart, odd[2], odd[3], turn_re, turn_im, 3 * turn)
    _put(re, im, at + 4 * apart, even[4], even[5], turn_re, turn_im, 4 * turn)
    _put(re, im, at + 5 * apart, odd[4], odd[5], turn_re, turn_im, 5 * turn)
    _put(re, im, at + 6 * apart, even[6], even[7], turn_re, turn_im, 6 * turn)
    _put(re, im, at + 7 * apart, odd[6], odd[7], turn_re, turn_im, 7 * turn)


@njit(error_model="numpy")
@no_type_check
def _first_pass(re, im, to_re, to_im, turn_re, turn_im, count):
    """Pass of eight whose upper four inputs are zeros."""
    apart = LANES * count
    for p in range(count):
        a = LANES * p
        ar, ai, br, bi = load(re, a), load(im, a), load(re, a + apart), load(im, a + apart)
        cr, ci = load(re, a + 2 * apart), load(im, a + 2 * apart)
        dr, di = load(re, a + 3 * apart), load(im, a + 3 * apart)
        even, odd = _four(ar, ai, br, bi, cr, ci, dr, di), _odd_four(ar, ai, br, bi, cr, ci, dr, di)
        _put_eight(to_re, to_im, 8 * a, LANES, even, odd, turn_re, turn_im, p)


@njit(error_model="numpy")
@no_type_check
def _pass_of_eight(re, im, to_re, to_im, turn_re, turn_im, count, stride, step):
    apart = count * stride
    for p in range(count):
        for q in range(0, stride, LANES):
            a = p * stride + q
            ar, ai, er, ei = load(re, a), load(im, a), load(re, a + 4 * apart), load(im, a + 4 * apart)
            br, bi = load(re, a + apart), load(im, a + apart)
            fr, fi = load(re, a + 5 * apart), load(im, a + 5 * apart)
            cr, ci = load(re, a + 2 * apart), load(im, a + 2 * apart)
            gr, gi = load(re, a + 6 * apart), load(im, a + 6 * apart)
            dr, di = load(re, a + 3 * apart), load(im, a + 3 * apart)
            hr, hi = load(re, a + 7 * apart), load(im, a + 7 * apart)
            even = _four(ar + er, ai + ei, br + fr, bi + fi, cr + gr, ci + gi, dr + hr, di + hi)
            odd = _odd_four(ar - er, ai - ei, br - fr, bi - fi, cr - gr, ci - gi, dr - hr, di - hi)
            _put_eight(to_re, to_im, 8 * p * stride + q, stride, even, odd, turn_re, turn_im, step * p)


@njit(error_model="numpy")
@no_type_check
def _last_pass_of_four(re, im, to_re, to_im, stride):
    for q in range(0, stride, LANES):
        ar, ai, br, bi = load(re, q), load(im, q), load(re, q + stride), load(im, q + stride)
        cr, ci = load(re, q + 2 * stride), load(im, q + 2 * stride)
        dr, di = load(re, q + 3 * stride), load(im, q + 3 * stride)
        out = _four(ar, ai, br, bi, cr, ci, dr, di)
        for part in range(4):
            store(to_re, q + part * stride, out[2 * part])
            store(to_im, q + part * stride, out[2 * part + 1])


@njit(error_model="numpy")
@no_type_check
def _last_pass_of_two(re, im, to_re, to_im, stride):
    for q in range(0, stride, LANES):
        ar, ai, br, bi = load(re, q), load(im, q), load(re, q + stride), load(im, q + stride)
        store(to_re, q, ar + br)
        store(to_im, q, ai + bi)
        store(to_re, q + stride, ar - br)
        store(to_im, q + stride, ai - bi)


@njit(error_model="numpy")
@no_type_check
def _power_spectrum(re, im, power, half_re, half_im, length):
    """Squared magnitudes of the real transform, out of the complex one of half its length."""
    a, b = load(re, 0), load(im, 0)
    store(power, 0, (a + b) * (a + b))
    store(power, LANES * length, (a - b) * (a - b))
    quarter = splat(_QUARTER)
    for k in range(1, length // 2 + 1):
        low, high = LANES * k, LANES * (length - k)
        c, d = splat(half_re[k]), splat(half_im[k])
        ar, ai, br, bi = load(re, low), load(im, low), load(re, high), load(im, high)
        even_re, even_im, odd_re, odd_im = ar + br, ai - bi, ai + bi, br - ar
        turned_re, turned_im = odd_re * c - odd_im * d, odd_re * d + odd_im * c
        x, y = even_re + turned_re, even_im + turned_im
        store(power, low, quarter * (x * x + y * y))
        x, y = even_re - turned_re, even_im - turned_im
        store(power, high, quarter * (x * x + y * y))


@njit(error_model="numpy")
@no_type_check
def _mel_sums(power, first_bins, counts, weights, sums, out, frame):
    at = 0
    for mel in range(first_bins.size):
        a = b = c = d = splat(_ZERO)
        place = LANES * first_bins[mel]
        for j in range(at, at + counts[mel], _TERMS):
            a = a + splat(weights[j]) * load(power, place)
            b = b + splat(weights[j + 1]) * load(power, place + LANES)
            c = c + splat(weights[j + 2]) * load(power, place + 2 * LANES)
            d = d + splat(weights[j + 3]) * load(power, place + 3 * LANES)
            place += _TERMS * LANES
        at += counts[mel]
        store(sums, 0, (a + b) + (c + d))
        for lane in range(LANES):
            out[mel, frame + lane] = sums[lane]


@_compiled
@no_type_check
def _every_frame(
    samples, window, hop, length, turn_re, turn_im, half_re, half_im, first_bins, counts, weights, room, out
):  # fmt: skip
    re, im, to_re, to_im, power = room[0], room[1], room[2], room[3], room[4]
    sums = np.empty(LANES, dtype=np.float32)
    frames = out.shape[1]
    for wanted in range(0, frames, LANES):
        frame = min(wanted, frames - LANES)  # the last eight overlap with those before
        re[LANES * (window.size // 2) : LANES * (length // 2)] = 0
        im[LANES * (window.size // 2) : LANES * (length // 2)] = 0
        _fill(samples, frame * hop, hop, window, re, im)
        _first_pass(re, im, to_re, to_im, turn_re, turn_im, length // 8)
        here_re, here_im, there_re, there_im = to_re, to_im, re, im
        left, stride = length // 8, 8 * LANES
        while left > 1:
            if left % 8 == 0:
                step = length // left
                _pass_of_eight(
                    here_re, here_im, there_re, there_im, turn_re, turn_im, left // 8, stride, step
                )  # fmt: skip
                left, stride = left // 8, stride * 8
            elif left == 4:
                _last_pass_of_four(here_re, here_im, there_re, there_im, stride)
                left = 1
            else:
                _last_pass_of_two(here_re, here_im, there_re, there_im, stride)
                left = 1
            here_re, here_im, there_re, there_im = there_re, there_im, here_re, here_im
        _power_spectrum(here_re, here_im, power, half_re, half_im, length)
        _mel_sums(power, first_bins, counts, weights, sums, out, frame)
