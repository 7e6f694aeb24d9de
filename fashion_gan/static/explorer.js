// The latent explorer: the generator runs in the page, in a worker. One file for all hosts: anywidget imports it (JupyterLab,
// Voilà), the report inlines it with a stand-in for the kernel. `core` is also the worker's source: it uses nothing outside.
function core() {
  const LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", LONGEST = 60; // Crockford's base 32: no I, L, O, U; characters of a code
  const STEP = 1e-2; // length of a step on a seed's plane

  // Random numbers: a 32-bit integer hash (lowbias32) of a counter; a normal number is the sum of 12 halves of 16 bits
  // (Irwin-Hall), which no rounding touches. latent.seeded in Python gives the same bits.
  function hash(x) {
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return (x ^ (x >>> 16)) >>> 0;
  }
  function seeded(seed, size, stream = 0) {
    const key = hash((seed + 0x9e3779b9) | 0), z = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let k = 0; k < 6; k++) {
        const word = hash(key ^ hash(6 * (4096 * stream + i) + k));
        sum += (word & 0xffff) + (word >>> 16);
      }
      z[i] = (sum - 393210) / 65536;
    }
    return z;
  }

  // A state: class c, seed s, truncation t (hundredths), place x, y on the seed's plane, directions d (tenths of a sigma), and
  // where it is a mixture class, seed and place of a second garment and its share m (hundredths).
  const fresh = (c, s) => ({ c, s, t: 100, x: 0, y: 0, mix: null, d: Array(8).fill(0) });
  function place({ s, x, y }, size) {
    const [z, across, down] = [0, 1, 2].map((stream) => seeded(s, size, stream));
    const u = x * STEP, v = y * STEP, length = Math.sqrt(1 + u * u + v * v);
    return z.map((value, i) => (value + u * across[i] + v * down[i]) / length);
  }
  function spherical(a, b, m) {
    let dot = 0, aa = 0, bb = 0;
    a.forEach((v, i) => { dot += v * b[i]; aa += v * v; bb += b[i] * b[i]; });
    const angle = Math.acos(Math.max(-1, Math.min(1, dot / Math.sqrt(aa * bb)))), sine = Math.sin(angle);
    const [p, q] = sine < 1e-6 ? [1 - m, m] : [Math.sin((1 - m) * angle) / sine, Math.sin(m * angle) / sine];
    return a.map((v, i) => p * v + q * b[i]);
  }
  function inputs(state, size, directions) { // the generator's: latent, share of each class
    const y = new Float32Array(10), { mix } = state, m = mix ? mix.m / 100 : 0;
    let z = place(state, size);
    if (mix) z = spherical(z, place(mix, size), m);
    y[state.c] = 1 - m;
    if (mix) y[mix.c] += m;
    for (let k = 0; k * size < directions.length; k++)
      for (let i = 0; i < size; i++) z[i] += (state.d[k] / 10) * directions[k * size + i];
    return { z: Float32Array.from(z, (v) => (v * state.t) / 100), y };
  }

  function crc(bytes) { // CRC-16 XMODEM: finds every wrong letter
    let r = 0;
    for (const byte of bytes) {
      r ^= byte << 8;
      for (let k = 0; k < 8; k++) r = ((r << 1) ^ (r & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return r;
  }
  function encode(state, model) { // model: 16 bits of its digest
    const b = [], put = (value, size) => { for (let k = size - 1; k >= 0; k--) b.push((value >>> (8 * k)) & 255); };
    const { mix } = state, walk = state.x || state.y, moved = state.d.some((v) => v);
    put(model, 2); put(state.c | (walk ? 16 : 0) | (mix ? 32 : 0) | (moved ? 64 : 0), 1); put(state.s, 4); put(state.t, 1);
    if (walk) { put(state.x, 2); put(state.y, 2); }
    if (mix) { put(mix.c, 1); put(mix.s, 4); put(mix.x, 2); put(mix.y, 2); put(mix.m, 1); }
    if (moved) state.d.forEach((v) => put(v, 1));
    put(crc(b), 2);
    let text = "", held = 0, bits = 0;
    for (const byte of [...b, 0]) { // the last 0 fills up; what is too much is cut off
      held = (held << 8) | byte;
      for (bits += 8; bits >= 5; held &= (1 << bits) - 1) text += LETTERS[held >>> (bits -= 5)];
    }
    return "F1-" + text.slice(0, Math.ceil((8 * b.length) / 5));
  }
  function decode(code, model) { // a state; throws an Error of one sentence
    const text = code.trim().toUpperCase(), b = [];
    if (!text.startsWith("F1-")) throw new Error("this is no code of the explorer; one begins with F1-");
    if (text.length > LONGEST) throw new Error(`the code has ${text.length} characters; the longest has ${LONGEST}`);
    let held = 0, bits = 0, at = 0;
    for (const letter of text.slice(3).replace(/O/g, "0").replace(/[IL]/g, "1")) {
      const value = LETTERS.indexOf(letter);
      if (value < 0) throw new Error(`the code holds ${letter}, which no code has`);
      held = (held << 5) | value;
      bits += 5;
      if (bits >= 8) { b.push(held >>> (bits -= 8)); held &= (1 << bits) - 1; }
    }
    const wrong = new Error("the code is mistyped or cut off; its checksum does not fit");
    if (b.length < 10 || held || bits > 4 || crc(b.slice(0, -2)) !== b.at(-2) * 256 + b.at(-1)) throw wrong;
    const get = (size) => { let v = 0; while (size--) v = v * 256 + b[at++]; return v; };
    const signed = (size) => { const v = get(size), top = 2 ** (8 * size); return v < top / 2 ? v : v - top; };
    const found = get(2), hex = (v) => v.toString(16).padStart(4, "0");
    if (found !== model) throw new Error(`the code belongs to another model (${hex(found)}); this one is ${hex(model)}`);
    const flags = get(1), state = fresh(flags & 15, get(4));
    state.t = get(1);
    if (flags & 16) { state.x = signed(2); state.y = signed(2); }
    if (flags & 32) state.mix = { c: get(1), s: get(4), x: signed(2), y: signed(2), m: get(1) };
    if (flags & 64) state.d = state.d.map(() => signed(1));
    if (at !== b.length - 2 || state.c > 9 || state.t > 200 || (state.mix && (state.mix.c > 9 || state.mix.m > 100))) throw wrong;
    return state;
  }

  function halves(buffer) { // float16 to float32: the bits shifted, then the exponent scaled, which is right for subnormals too
    const from = new Uint16Array(buffer), to = new Float32Array(from.length), bits = new Uint32Array(to.buffer);
    for (let i = 0; i < from.length; i++) bits[i] = ((from[i] & 0x8000) << 16) | ((from[i] & 0x7fff) << 13);
    for (let i = 0; i < to.length; i++) to[i] *= 2 ** 112;
    return to;
  }
  const ACTS = { relu: (v) => (v > 0 ? v : 0), tanh: Math.tanh, silu: (v) => v / (1 + Math.exp(-v)), none: (v) => v };
  // A convolution as a gather. x: side * side pixels of `cin` numbers; weight: (tap, cin, cout). "up" is transposed, 4x4, stride
  // 2, padding 1: a pixel takes 2x2 taps; "same" is 3x3, padding 1. Zeros, which ReLU leaves many of, are passed over.
  function convolve({ kind, cin, cout, act, weight, bias }, x, side, w) {
    const up = kind === "up", size = up ? 2 * side : side, kernel = up ? 4 : 3, out = new Float32Array(size * size * cout);
    const taps = Array.from({ length: size }, (_, o) => (!up ? [[o - 1, 0], [o, 1], [o + 1, 2]]
      : o % 2 ? [[(o + 1) / 2, 0], [(o - 1) / 2, 2]] : [[o / 2, 1], [o / 2 - 1, 3]]).filter(([i]) => i >= 0 && i < side));
    const W = w[weight], values = new Float32Array(9 * cin), offsets = new Int32Array(9 * cin), sum = new Float32Array(cout), f = ACTS[act];
    for (let oy = 0; oy < size; oy++) for (let ox = 0; ox < size; ox++) {
      let n = 0, k = 0;
      for (const [iy, ky] of taps[oy]) for (const [ix, kx] of taps[ox]) {
        const from = (iy * side + ix) * cin, tap = (ky * kernel + kx) * cin * cout;
        for (let c = 0; c < cin; c++) if (x[from + c] !== 0) { values[n] = x[from + c]; offsets[n++] = tap + c * cout; }
      }
      sum.set(w[bias]);
      for (; k + 3 < n; k += 4) { // four inputs at a time: a quarter of the loads and stores of the sums
        const a = values[k], b = values[k + 1], c = values[k + 2], d = values[k + 3];
        const p = offsets[k], q = offsets[k + 1], r = offsets[k + 2], s = offsets[k + 3];
        for (let j = 0; j < cout; j++) sum[j] += a * W[p + j] + b * W[q + j] + c * W[r + j] + d * W[s + j];
      }
      for (; k < n; k++) for (let j = 0; j < cout; j++) sum[j] += values[k] * W[offsets[k] + j];
      for (let j = 0, to = (oy * size + ox) * cout; j < cout; j++) out[to + j] = f(sum[j]);
    }
    return [out, size];
  }
  function linear(x, weight, bias, act) { // weight: (in, out)
    const out = Float32Array.from(bias), n = out.length;
    x.forEach((v, i) => { if (v) for (let j = 0, p = i * n; j < n; j++) out[j] += v * weight[p + j]; });
    return out.map(ACTS[act]);
  }
  function pooled(x, side, channels) { // largest of 2x2
    const half = side >> 1, row = side * channels, out = new Float32Array(half * half * channels);
    for (let y = 0, o = 0; y < half; y++) for (let i = 0; i < half; i++) for (let c = 0; c < channels; c++) {
      const p = 2 * y * row + 2 * i * channels + c;
      out[o++] = Math.max(x[p], x[p + channels], x[p + row], x[p + row + channels]);
    }
    return out;
  }
  function open(info, buffer) { // what export.payload made: its description, its numbers
    const numbers = halves(buffer), w = {};
    for (const [name, [start, size]] of Object.entries(info.tensors)) w[name] = numbers.subarray(start, start + size);
    function draw({ z, y }) { // 784 grey levels
      let x = linear([...z, ...(info.conditional ? y : [])], w.project, w.project_bias, "relu"), side = 7;
      for (const layer of info.generator) [x, side] = convolve(layer, x, side, w);
      return Uint8Array.from(x, (v) => Math.max(0, Math.min(255, Math.round((v + 1) * 127.5))));
    }
    function look(image) { // the share that the classifier gives each class, and the nearest real images: [distance, number]
      let x = Float32Array.from(image, (v) => v / 127.5 - 1), side = 28;
      for (const layer of info.classifier) {
        [x] = convolve(layer, x, side, w);
        x = pooled(x, side, layer.cout);
        side >>= 1;
      }
      const hidden = linear(x, w.hidden, w.hidden_bias, "silu"), raw = linear(hidden, w.head, w.head_bias, "none");
      const top = Math.max(...raw), shares = Array.from(raw, (v) => Math.exp(v - top)), total = shares.reduce((a, b) => a + b);
      const size = hidden.length, near = Array.from({ length: w.tiles.length / size }, (_, i) => {
        let d = 0;
        for (let j = 0; j < size; j++) d += (hidden[j] * info.scale - w.tiles[i * size + j]) ** 2;
        return [Math.sqrt(d), i];
      }).sort((a, b) => a[0] - b[0]).slice(0, 6);
      return { shares: shares.map((v) => v / total), near };
    }
    return { draw, look, directions: w.directions };
  }
  return { seeded, fresh, inputs, encode, decode, open };
}

export default { core, render() {} };
