// The latent explorer: the generator runs in the page, in a worker. One file for all hosts: anywidget imports it (JupyterLab,
// Voilà), the report inlines it with a stand-in for the kernel. `core` is also the worker's source: it uses nothing outside.
function core() {
  const LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // Crockford's base 32: no I, L, O, U
  const STEP = 1e-2; // length of a step on a seed's plane

  // Random numbers: a 32-bit integer hash (lowbias32) of a counter; a normal number is the sum of 12 halves of 16 bits
  // (Irwin-Hall), which no rounding touches. latent_from_seed in models/latents.py gives the same bits.
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

  // A state: class c, seed s, truncation t (hundredths), place x, y on the seed's plane, directions d (tenths of a sigma), the
  // latent z (in 32nds) where it is no seed's but was found for a photo, and where it is a mixture class, seed, place and
  // latent of a second garment and its share m (hundredths).
  const fresh = (c, s) => ({ c, s, t: 100, x: 0, y: 0, z: null, mix: null, d: Array(8).fill(0) });
  function place({ s, x, y, z: own }, size) {
    const [z, across, down] = [0, 1, 2].map((stream) => (own && !stream ? Float64Array.from(own, (v) => v / 32) : seeded(s, size, stream)));
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
  function inputs(state, size, directions, count = 10) { // the generator's: latent, share of each of `count` classes
    const y = new Float32Array(count), { mix } = state, m = mix ? mix.m / 100 : 0;
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
    put(model, 2); put((state.c & 15) | (walk ? 16 : 0) | (mix ? 32 : 0) | (moved ? 64 : 0) | (state.z ? 128 : 0), 1); put(state.s, 4); put(state.t, 1);
    if (walk) { put(state.x, 2); put(state.y, 2); }
    if (mix) { put((mix.c & 15) | (mix.z ? 16 : 0), 1); put(mix.s, 4); put(mix.x, 2); put(mix.y, 2); put(mix.m, 1); }
    if (moved) state.d.forEach((v) => put(v, 1));
    for (const v of [...(state.z ?? []), ...(mix?.z ?? [])]) put(v, 1);
    if (state.c > 15 || mix?.c > 15) { put(state.c >> 4, 1); put((mix?.c ?? 0) >> 4, 1); } // what four bits do not hold
    put(crc(b), 2);
    let text = "", held = 0, bits = 0;
    for (const byte of [...b, 0]) { // the last 0 fills up; what is too much is cut off
      held = (held << 8) | byte;
      for (bits += 8; bits >= 5; held &= (1 << bits) - 1) text += LETTERS[held >>> (bits -= 5)];
    }
    return "F1-" + text.slice(0, Math.ceil((8 * b.length) / 5));
  }
  function decode(code, model, size, count = 10) { // a state; size: of the model's latent; count: of its classes; throws an Error of one sentence
    const text = code.trim().toUpperCase(), b = [], longest = (count > 16 ? 60 : 56) + Math.ceil((16 * size) / 5);
    if (!text.startsWith("F1-")) throw new Error("this is no code of the explorer; one begins with F1-");
    if (text.length > longest) throw new Error(`the code has ${text.length} characters; the longest has ${longest}`);
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
    const get = (bytes) => { let v = 0; while (bytes--) v = v * 256 + b[at++]; return v; };
    const signed = (bytes) => { const v = get(bytes), top = 2 ** (8 * bytes); return v < top / 2 ? v : v - top; };
    const latent = () => Array.from({ length: size }, () => signed(1));
    const found = get(2), hex = (v) => v.toString(16).padStart(4, "0");
    if (found !== model) throw new Error(`the code belongs to another model (${hex(found)}); this one is ${hex(model)}`);
    const flags = get(1), state = fresh(flags & 15, get(4));
    state.t = get(1);
    if (flags & 16) { state.x = signed(2); state.y = signed(2); }
    if (flags & 32) state.mix = { c: get(1), s: get(4), x: signed(2), y: signed(2), m: get(1) };
    if (flags & 64) state.d = state.d.map(() => signed(1));
    if (flags & 128) state.z = latent();
    const mixed = state.mix?.c ?? 0;
    if (state.mix) { state.mix.z = mixed & 16 ? latent() : null; state.mix.c &= 15; }
    const more = at === b.length - 4, high = more ? [get(1), get(1)] : [0, 0];
    if (mixed > 31 || (more && !high[0] && !high[1]) || (high[1] && !state.mix)) throw wrong;
    state.c |= high[0] << 4;
    if (state.mix) state.mix.c |= high[1] << 4;
    if (at !== b.length - 2 || state.c >= count || state.t > 200 || (state.mix && (state.mix.c >= count || state.mix.m > 100))) throw wrong;
    return state;
  }

  function halves(high, low) { // float16, its two bytes apart, to float32: bits shifted, then the exponent scaled, right for subnormals too
    const to = new Float32Array(high.length), bits = new Uint32Array(to.buffer);
    for (let i = 0; i < to.length; i++) bits[i] = ((high[i] & 0x80) << 24) | ((((high[i] & 0x7f) << 8) | low[i]) << 13);
    return to.map((v) => v * 2 ** 112);
  }
  const ACTS = { relu: (v) => (v > 0 ? v : 0), tanh: Math.tanh, silu: (v) => v / (1 + Math.exp(-v)), none: (v) => v };
  // A convolution as a gather. x: height * width pixels of `cin` numbers; weight: (tap, cin, cout). "up" is transposed, 4x4, stride
  // 2, padding 1: a pixel takes 2x2 taps; "same" is 3x3, padding 1, "half" of stride 2. Zeros, which ReLU leaves many of, are passed over.
  function convolve({ kind, cin, cout, act, weight, bias }, x, [height, width], w) {
    const up = kind === "up", step = kind === "half" ? 2 : 1, kernel = up ? 4 : 3;
    const taps = (side) => Array.from({ length: up ? 2 * side : side / step }, (_, o) => (!up ? [[o * step - 1, 0], [o * step, 1], [o * step + 1, 2]]
      : o % 2 ? [[(o + 1) / 2, 0], [(o - 1) / 2, 2]] : [[o / 2, 1], [o / 2 - 1, 3]]).filter(([i]) => i >= 0 && i < side));
    const rows = taps(height), columns = taps(width), high = rows.length, wide = columns.length, out = new Float32Array(high * wide * cout);
    const W = w[weight], values = new Float32Array(9 * cin), offsets = new Int32Array(9 * cin), sum = new Float32Array(cout), f = ACTS[act];
    for (let oy = 0; oy < high; oy++) for (let ox = 0; ox < wide; ox++) {
      let n = 0, k = 0;
      for (const [iy, ky] of rows[oy]) for (const [ix, kx] of columns[ox]) {
        const from = (iy * width + ix) * cin, tap = (ky * kernel + kx) * cin * cout;
        for (let c = 0; c < cin; c++) if (x[from + c] !== 0) { values[n] = x[from + c]; offsets[n++] = tap + c * cout; }
      }
      sum.set(w[bias]);
      for (; k + 3 < n; k += 4) { // four inputs at a time: a quarter of the loads and stores of the sums
        const a = values[k], b = values[k + 1], c = values[k + 2], d = values[k + 3];
        const p = offsets[k], q = offsets[k + 1], r = offsets[k + 2], s = offsets[k + 3];
        for (let j = 0; j < cout; j++) sum[j] += a * W[p + j] + b * W[q + j] + c * W[r + j] + d * W[s + j];
      }
      for (; k < n; k++) for (let j = 0; j < cout; j++) sum[j] += values[k] * W[offsets[k] + j];
      for (let j = 0, to = (oy * wide + ox) * cout; j < cout; j++) out[to + j] = f(sum[j]);
    }
    return [out, [high, wide]];
  }
  function linear(x, weight, bias, act) { // weight: (in, out)
    const out = Float32Array.from(bias), n = out.length;
    x.forEach((v, i) => { if (v) for (let j = 0, p = i * n; j < n; j++) out[j] += v * weight[p + j]; });
    return out.map(ACTS[act]);
  }
  function pooled(x, [height, width], channels) { // largest of 2x2
    const high = height >> 1, wide = width >> 1, row = width * channels, out = new Float32Array(high * wide * channels);
    for (let y = 0, o = 0; y < high; y++) for (let i = 0; i < wide; i++) for (let c = 0; c < channels; c++) {
      const p = 2 * y * row + 2 * i * channels + c;
      out[o++] = Math.max(x[p], x[p + channels], x[p + row], x[p + row + channels]);
    }
    return out;
  }
  const shape = (info) => info.shape ?? [1, 28, 28]; // colours, height, width; what was kept before there were others has none
  async function open(info, packed) { // what export.payload made: its description, its numbers
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer()), n = info.numbers, w = {}, size = shape(info).slice(1);
    const numbers = halves(bytes.subarray(0, n), bytes.subarray(n, 2 * n)), tiles = bytes.subarray(2 * n);
    for (const [name, [start, size]] of Object.entries(info.tensors)) w[name] = numbers.subarray(start, start + size);
    function draw({ z, y }) { // levels, a pixel's colours side by side
      let x = linear([...z, ...(info.conditional ? y : [])], w.project, w.project_bias, "relu"), sides = size.map((v) => v >> 2);
      for (const layer of info.generator) [x, sides] = convolve(layer, x, sides, w);
      return Uint8Array.from(x, (v) => Math.max(0, Math.min(255, Math.round((v + 1) * 127.5))));
    }
    function look(image) { // the share that the classifier gives each class, and the nearest real images: [distance, number]
      let x = Float32Array.from(image, (v) => v / 127.5 - 1), sides = size;
      for (const layer of info.classifier) {
        [x, sides] = convolve(layer, x, sides, w);
        x = pooled(x, sides, layer.cout);
        sides = sides.map((v) => v >> 1);
      }
      const hidden = linear(x, w.hidden, w.hidden_bias, "silu"), raw = linear(hidden, w.head, w.head_bias, "none");
      const top = Math.max(...raw), shares = Array.from(raw, (v) => Math.exp(v - top)), total = shares.reduce((a, b) => a + b);
      const count = hidden.length, near = info.tile_classes.map((_, i) => {
        let d = 0;
        for (let j = 0; j < count; j++) d += (hidden[j] * info.scale - w.tile_least[j] - w.tile_step[j] * tiles[i * count + j]) ** 2;
        return [Math.sqrt(d), i];
      }).sort((a, b) => a[0] - b[0]).slice(0, 6);
      return { shares: shares.map((v) => v / total), near };
    }
    return { draw, look, directions: w.directions };
  }
  // Pictures as a GIF that goes round, each pixel as times x times: in 256 greys, or in 6 x 7 x 6 colours. LZW as GIF89a wants it.
  function gif(frames, times, hundredths, [colours, height, width] = [1, 28, 28]) {
    const high = height * times, wide = width * times, word = (v) => [v & 255, v >> 8], file = [...new TextEncoder().encode("GIF89a"), ...word(wide), ...word(high), 0xf7, 0, 0];
    const near = (v, most) => Math.round((v * most) / 255), of = (index, most) => Math.round((index * 255) / most);
    for (let v = 0; v < 256; v++) file.push(...(colours === 1 ? [v, v, v] : v < 252 ? [of(Math.floor(v / 42), 5), of(Math.floor(v / 6) % 7, 6), of(v % 6, 5)] : [0, 0, 0]));
    file.push(0x21, 0xff, 11, ...new TextEncoder().encode("NETSCAPE2.0"), 3, 1, 0, 0, 0);
    for (const levels of frames) {
      const bytes = [], entry = (p) => (colours === 1 ? levels[p] : 42 * near(levels[3 * p], 5) + 6 * near(levels[3 * p + 1], 6) + near(levels[3 * p + 2], 5));
      let held = 0, bits = 0, size = 9, next = 258, known = new Map(), before = -1;
      const put = (code) => { held |= code << bits; for (bits += size; bits >= 8; bits -= 8, held >>>= 8) bytes.push(held & 255); };
      put(256);
      for (let i = 0; i < wide * high; i++) {
        const level = entry(width * Math.floor(i / wide / times) + Math.floor((i % wide) / times)), pair = before * 256 + level;
        if (before < 0) before = level;
        else if (known.has(pair)) before = known.get(pair);
        else {
          put(before);
          known.set(pair, next++);
          if (next > 1 << size && size < 12) size++;
          else if (next > 4095) { put(256); known = new Map(); size = 9; next = 258; }
          before = level;
        }
      }
      put(before); put(257);
      if (bits) bytes.push(held & 255);
      file.push(0x21, 0xf9, 4, 0, ...word(hundredths), 0, 0, 0x2c, 0, 0, 0, 0, ...word(wide), ...word(high), 0, 8);
      for (let i = 0; i < bytes.length; i += 255) { const part = bytes.slice(i, i + 255); file.push(part.length, ...part); }
      file.push(0);
    }
    return Uint8Array.from([...file, 0x3b]);
  }
  return { seeded, fresh, inputs, encode, decode, shape, open, gif };
}

// Work for the worker, one piece at a time. Of pieces with the same name only the newest is done, "draw" before all others.
function engine(info, packed) {
  const answer = (core, net, { image, state }) => (image ? net.look(image) : net.draw(core.inputs(state, info.latent_dim, net.directions, info.classes.length)));
  const source = `const core = (${core})(), answer = ${answer}; let net, info;
    onmessage = async ({ data }) => { if (data.info) net = core.open((info = data.info), data.packed); else postMessage(answer(core, await net, data)); };`;
  const waiting = new Map();
  let address = "", worker = null, running = null, here = null, ended = false;
  const done = (result) => { const { resolve } = running; running = null; resolve(result); next(); };
  const begin = async () => {
    if (worker) return worker.postMessage(running.job);
    here ??= core();
    const net = await (here.net ??= here.open(info, packed));
    setTimeout(() => !ended && done(answer(here, net, running.job)));
  };
  function next() {
    if (running || ended || !waiting.size) return;
    const name = waiting.has("draw") ? "draw" : waiting.keys().next().value;
    running = waiting.get(name);
    waiting.delete(name);
    begin();
  }
  const without = () => { worker = null; if (running) begin(); }; // a host that allows no worker: here, between two events
  try {
    address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    worker = new Worker(address);
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = without;
    worker.postMessage({ info, packed });
  } catch { without(); }
  return {
    ask: (name, job) => new Promise((resolve) => { waiting.set(name, { job, resolve }); next(); }),
    end: () => { ended = true; worker?.terminate(); URL.revokeObjectURL(address); },
  };
}

// model: get, set, on, off, save_changes, send. It knows `info`, `numbers` (DataView or base64), `code`, `page`: whether it is part of a
// page that has an address, and `kernel`: whether somebody answers what is sent.
function render({ model, el }) {
  const info = model.get("info"), raw = model.get("numbers"), { encode, decode, fresh, shape, gif } = core(), names = info.classes;
  const packed = typeof raw === "string" ? Uint8Array.from(atob(raw), (c) => c.charCodeAt(0)) : new Uint8Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength));
  const work = engine(info, packed), page = model.get("page"), kernel = model.get("kernel"), away = [];
  const coded = (some) => encode(some, info.model), read = (code) => decode(code, info.model, info.latent_dim, names.length);
  const [colours, height, width] = shape(info), thing = info.thing ?? "garment", clothes = thing === "garment";
  const many = names.length > 16; // a list in place of a picture of each
  const brief = (name) => ([...name].length > 24 ? `${[...name].slice(0, 23).join("")}…` : name);
  const several = names.length > 1, choice = several && info.conditional; // images without labels have one class, which no word is lost on
  let state = fresh(Math.max(0, names.indexOf("Ankle boot")), 7), history = [], at = -1, pins = [], film = 0, image = null, looked = 0;

  function make(tag, about = {}, ...inside) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(about)) key in node && typeof value !== "string" ? (node[key] = value) : node.setAttribute(key, value);
    node.append(...inside);
    return node;
  }
  const button = (text, onclick, about = {}) => make("button", { type: "button", onclick, ...about }, text);
  const canvas = (about = {}) => make("canvas", { width, height, ...about });
  const listen = (target, name, work) => { target.addEventListener(name, work); away.push(() => target.removeEventListener(name, work)); };
  function paint(target, levels) {
    const pixels = new ImageData(target.width, target.height), last = levels.length / (target.width * target.height) - 1; // 0, or 2 of colour
    for (let i = 0, p = 0; p < levels.length; i += 4, p += last + 1) pixels.data.set([levels[p], levels[p + (last >> 1)], levels[p + last], 255], i);
    target.getContext("2d").putImageData(pixels, 0, 0);
  }
  function slider(text, least, most, step, get, set, words) {
    const input = make("input", { type: "range", min: String(least), max: String(most), step: String(step) }), output = make("output");
    const show = () => { input.value = get(); output.value = words(get()); input.setAttribute("aria-valuetext", output.value); };
    input.oninput = () => { set(Number(input.value)); draw(); };
    input.onchange = () => keep();
    shown.push(show);
    return make("label", { class: "slider" }, make("span", {}, text), input, output);
  }

  const shown = [], stage = canvas({ class: "stage", role: "img", tabindex: "0" }), seen = make("p", { "aria-live": "polite" }), alert = make("p", { class: "alert", role: "alert" });
  const sentence = (error) => say(error.message[0].toUpperCase() + error.message.slice(1) + ".");
  const say = (words, good = false) => { alert.textContent = words; alert.classList.toggle("good", good); };
  function draw() { // on screen soon; the rest of the page follows
    const code = coded(state), now = state;
    shown.forEach((show) => show());
    return work.ask("draw", { state: now }).then((levels) => {
      image = levels;
      paint(stage, levels);
      stage.dataset.code = code;
      if (choice && !many) names.forEach((_, c) => work.ask(`class ${c}`, { state: { ...now, c, mix: now.mix && { ...now.mix, c } } }).then((some) => paint(thumbs[c], some)));
      clearTimeout(looked);
      looked = setTimeout(look, 150);
    });
  }
  function look() {
    const code = stage.dataset.code;
    work.ask("look", { image }).then(({ shares, near }) => {
      if (stage.dataset.code !== code) return;
      const best = shares.indexOf(Math.max(...shares)), words = several ? `${names[best]}, ${Math.round(100 * shares[best])} % sure` : "";
      stage.setAttribute("aria-label", `generated ${thing}${words && `: ${words}`}. Arrow keys or dragging walk to neighbours.`);
      seen.textContent = words && `A classifier sees: ${words}`;
      neighbours(near.map(([distance, i]) => ({ distance, c: info.tile_classes[i], number: info.tile_numbers[i],
        onto: (context) => context.drawImage(sprite, width * (i % 50), height * Math.floor(i / 50), width, height, 0, 0, width, height) })), info.tile_classes.length, info.real_distance);
    });
  }
  function neighbours(near, count, real) { // training images beside the picture, with what real images have
    near.forEach(({ distance, c, number, onto }, k) => {
      const [small, caption] = tiles[k].children, away = distance.toFixed(2), words = `${several ? `${names[c]}, ` : ""}${away}`;
      onto(small.getContext("2d"));
      caption.textContent = `${several ? `${brief(names[c])}, ` : ""}${away}`;
      caption.title = words;
      small.setAttribute("aria-label", `training image ${number}: ${words} away`);
    });
    judged.textContent = `Of ${count.toLocaleString("en")} training images the nearest is ${near[0].distance.toFixed(2)} away, in a classifier's features. Unseen real images lie ${real.toFixed(2)} (median) from theirs: this ${thing} is ${(near[0].distance / real).toFixed(1)} times as far.`;
  }

  // what only a kernel can do: one question at a time; it answers with `what` it was asked
  let asked = null;
  function ask(what, about, words, took, buffers) {
    clearTimeout(asked?.late);
    asked = { what, took, late: setTimeout(() => { asked = null; say("The kernel does not answer; run the notebook's cells again."); }, 90000) };
    say(words, true);
    model.send({ what, ...about }, undefined, buffers);
  }
  const heard = (answer) => {
    if (asked?.what !== answer?.what) return;
    clearTimeout(asked.late);
    const { took } = asked;
    asked = null;
    if (answer.error) say(answer.error); else took(answer);
  };
  const NO_KERNEL = "needs a kernel: open notebooks/05_explorer.ipynb, by make explore";
  function keep() { // a step that undo goes back over; only now the kernel hears of it
    const code = coded(state);
    if (code !== history[at]) {
      say("");
      history = [...history.slice(0, at + 1), code];
      at++;
    }
    told(code);
  }
  function told(code) {
    field.value = code;
    back.disabled = at < 1;
    forth.disabled = at > history.length - 2;
    model.set("code", code);
    model.save_changes();
    if (page) try { location.hash = code; } catch { /* a viewer without an address */ }
  }
  const change = (now) => { stop(); state = now; keep(); return draw(); };
  function step(by) {
    if (!(at + by in history)) return;
    stop();
    at += by;
    state = read(history[at]);
    say("");
    told(history[at]);
    draw();
  }
  function go(code) {
    try { change(read(code)); } catch (error) { sentence(error); }
  }

  // classes, each with the same latent in it
  const thumbs = many ? [] : names.map(() => canvas({ "aria-hidden": "true" }));
  const inClass = (c) => choice && c < names.length && change({ ...state, c, mix: state.mix && { ...state.mix, c } });
  const classes = many ? chooser() : make("div", { class: "classes", role: "group", "aria-label": "class" }, ...names.map((name, c) => {
    const one = button("", () => inClass(c), { ...(c < 10 && { title: `key ${c}` }), disabled: !info.conditional });
    one.append(info.conditional ? thumbs[c] : "", make("span", { title: name }, `${c} ${name}`));
    shown.push(() => one.setAttribute("aria-pressed", String(info.conditional && state.c === c)));
    return one;
  }));
  function chooser() { // a list that shrinks to the names that hold what is typed
    const label = (c) => `${c} ${names[c]}`, search = make("input", { type: "text", "aria-label": "search for a class", placeholder: "search", disabled: !choice });
    const list = make("select", { "aria-label": "class", size: 8, disabled: !choice }), count = make("p", { class: "quiet", role: "status" });
    const fill = () => {
      const words = search.value.trim().toLowerCase(), match = [...names.keys()].filter((c) => label(c).toLowerCase().includes(words));
      list.replaceChildren(...match.map((c) => make("option", { value: String(c), title: names[c] }, label(c))));
      list.value = String(state.c);
      count.textContent = `${match.length.toLocaleString("en")} of ${names.length.toLocaleString("en")} classes`;
      return match;
    };
    search.oninput = fill;
    search.onkeydown = (event) => { if (event.key === "Enter") { const [first] = fill(); if (first !== undefined) inClass(first); } };
    list.onchange = () => list.value && inClass(Number(list.value));
    shown.push(() => { list.value = String(state.c); });
    fill();
    return make("div", { class: "chooser" }, search, list, count);
  }
  const seed = make("input", { type: "number", min: "0", max: "4294967295", step: "1" });
  seed.onchange = () => {
    const value = Number(seed.value);
    if (!Number.isInteger(value) || value < 0 || value > 4294967295 || seed.value === "") return say("A seed is a whole number from 0 to 4294967295.");
    change({ ...state, s: value, x: 0, y: 0, z: null, mix: null });
  };
  shown.push(() => { seed.value = state.s; });
  const surprise = () => change({ ...fresh(state.c, crypto.getRandomValues(new Uint32Array(1))[0] % 1000000), t: state.t });
  const back = button("Undo", () => step(-1), { title: "Ctrl-Z" }), forth = button("Redo", () => step(1), { title: "Ctrl-Shift-Z" });
  const field = make("input", { type: "text", spellcheck: "false", autocomplete: "off", "aria-label": `code of this ${thing}` });
  field.onkeydown = (event) => { if (event.key === "Enter") go(field.value); };
  const copy = (what, text) => Promise.resolve().then(what).then(() => say(text, true), () => say("This browser lets no page copy; select the code, or download."));

  // pins, mixtures, the film from A to B
  const picked = [make("select", { "aria-label": "pin A" }), make("select", { "aria-label": "pin B" })], shelf = make("div", { class: "row" });
  function pin() {
    if (pins.length === 12) return say("Twelve pins are all that fit; remove one.");
    const one = { state, image };
    pins.push(one);
    if (stage.dataset.code !== coded(state)) work.ask(`pin ${pins.length}`, { state }).then((levels) => { one.image = levels; listed(); }); // the picture is not there yet
    listed();
    const plain = [...pins.keys()].filter((i) => !pins[i].state.mix); // the last two of those that can be mixed
    picked.forEach((select, k) => { if (plain.length && !state.mix) select.value = plain[Math.max(0, plain.length - 2 + k)] ?? plain[0]; });
  }
  function listed() {
    shelf.replaceChildren(...pins.map(({ state: now, image: levels }, i) => {
      const small = canvas({ role: "img", "aria-label": `pin ${i + 1}` });
      paint(small, levels);
      return make("figure", {}, small, button(`show ${i + 1}`, () => change(now)), button("×", () => { pins.splice(i, 1); listed(); }, { "aria-label": `remove pin ${i + 1}` }));
    }));
    picked.forEach((select) => { const before = select.value; select.replaceChildren(...pins.map((p, i) => make("option", { value: String(i) }, several ? `${i + 1}: ${brief(names[p.state.c])}` : `${i + 1}`))); if (before in pins) select.value = before; });
  }
  function mixed(m) { // a state between the pins A and B; null where there are none
    const [a, b] = picked.map((select) => pins[select.value]?.state);
    if (!a || !b || a.mix || b.mix) { say(a?.mix || b?.mix ? `A mixture cannot be mixed again; pin two plain ${thing}s.` : `Pin two ${thing}s first.`); return null; }
    const between = (p, q) => Math.round(p + ((q - p) * m) / 100);
    return { ...a, t: between(a.t, b.t), d: a.d.map((v, k) => between(v, b.d[k])), mix: { c: b.c, s: b.s, x: b.x, y: b.y, z: b.z, m } };
  }
  const share = slider("mix A → B", 0, 100, 1, () => state.mix?.m ?? 0, (m) => { stop(); state = mixed(m) ?? state; }, (m) => `${m} % of B`);
  const stop = () => { cancelAnimationFrame(film); film = 0; playing.textContent = "Play A → B"; };
  const playing = button("Play A → B", () => {
    if (film) { stop(); return keep(); }
    if (!mixed(0)) return;
    const began = performance.now();
    playing.textContent = "Stop";
    const frame = async (now) => {
      state = mixed(Math.min(100, Math.round((now - began) / 30))) ?? state;
      await draw();
      if (!film) return;
      if (state.mix?.m === 100) { stop(); keep(); } else film = requestAnimationFrame(frame);
    };
    film = requestAnimationFrame(frame);
  });

  // pictures out
  function sheet(levels) { // pictures side by side, each pixel as 8x8
    const wide = 8 * width, high = 8 * height, target = make("canvas", { width: wide * levels.length, height: high }), small = canvas(), context = target.getContext("2d");
    context.imageSmoothingEnabled = false;
    levels.forEach((some, i) => { paint(small, some); context.drawImage(small, wide * i, 0, wide, high); });
    return new Promise((resolve) => target.toBlob(resolve, "image/png"));
  }
  const save = (blob, name) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  async function way(count) { // the pictures from A to B where two are pinned, else of all classes
    const mixing = pins.length > 1 && mixed(0), steps = Array.from({ length: count }, (_, i) => Math.round((100 * i) / (count - 1)));
    const every = names.map((_, c) => c).filter((c) => !many || c % Math.ceil(names.length / 20) === 0); // 20 at most
    const all = mixing ? steps.map(mixed) : choice ? every.map((c) => ({ ...state, c, mix: null })) : [state];
    return { frames: await Promise.all(all.map((now, i) => work.ask(`way ${i}`, { state: now }))), name: mixing ? "from-A-to-B" : choice ? "classes" : thing };
  }
  async function strip() {
    const { frames, name } = await way(11);
    save(await sheet(frames), `${name}.png`);
  }
  async function moving() { // there and back
    const { frames, name } = await way(31);
    save(new Blob([gif([...frames, ...frames.slice(1, -1).reverse()], 4, name === "classes" ? 60 : 7, [colours, height, width])], { type: "image/gif" }), `${name}.gif`);
  }

  // an own photo: the kernel makes it as the data is, step by step, and finds it in the latent space
  let photo = null;
  const MEGABYTES = 8; // a larger message would break the connection to the kernel
  const steps = make("div", { class: "row" }), file = make("input", { type: "file", accept: "image/*", "aria-label": clothes ? "picture of a garment" : "own picture", disabled: !kernel });
  const turn = button("Other way round", () => prepare(!photo.negative), { disabled: true }), found = make("p", { class: "quiet" });
  const finding = button("Find it in the latent space", () => ask("find", { levels: photo.steps.at(-1).levels }, "Looking for it in the latent space …", ({ c, z, distance, real, seconds }) => {
    const words = `Found in ${seconds.toFixed(1)} s: ${distance.toFixed(2)} from the photo in a classifier's features; two real images${several ? ` of ${names[c]}` : ""} are ${real.toFixed(2)} (median) apart.`;
    change({ ...fresh(c, 0), z }).then(() => { pin(); found.textContent = `${words} It is pinned.`; });
  }), { disabled: true });
  function shownPhoto(answer) {
    photo = answer;
    turn.disabled = finding.disabled = !photo;
    found.textContent = photo?.said ?? "";
    steps.replaceChildren(...(photo?.steps ?? []).map(({ words, width, height, levels }) => {
      const target = canvas({ width, height, role: "img", "aria-label": words });
      paint(target, levels);
      return make("figure", {}, target, make("figcaption", {}, words));
    }));
  }
  async function prepare(negative, some = photo.bytes) {
    ask("photo", { negative }, "Reading the picture …", (answer) => { shownPhoto({ ...answer, bytes: some }); say(""); }, [some]);
  }
  async function take(some) {
    if (!kernel || !some) return;
    shownPhoto(null);
    if (some.size > MEGABYTES * 1e6) say(`This file has ${Math.round(some.size / 1e6)} MB; at most ${MEGABYTES} MB are read.`);
    else prepare(null, await some.arrayBuffer());
  }
  file.onchange = () => take(file.files[0]);
  const drop = make("div", { class: "drop" }, file);
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => { event.preventDefault(); drop.classList.remove("over"); take(event.dataTransfer.files[0]); };

  // a walk on the seed's plane, by dragging or arrow keys
  const bound = (v) => Math.max(-32768, Math.min(32767, Math.round(v)));
  const walk = (x, y) => { state = { ...state, x: bound(x), y: bound(y) }; draw(); };
  let grip = null;
  stage.onpointerdown = (event) => { stop(); stage.setPointerCapture(event.pointerId); grip = [event.clientX, event.clientY, state.x, state.y]; };
  stage.onpointermove = (event) => grip && walk(grip[2] + event.clientX - grip[0], grip[3] + event.clientY - grip[1]);
  stage.onpointerup = stage.onpointercancel = () => { if (grip) { grip = null; keep(); } };
  stage.onkeydown = (event) => {
    const to = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (to) { event.preventDefault(); walk(state.x + to[0], state.y + to[1]); keep(); }
  };
  listen(page ? document : el, "keydown", (event) => {
    if (!el.contains(event.target) && event.target !== document.body) return;
    const typing = ["text", "number"].includes(event.target.type) || event.target.tagName === "SELECT";
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && event.target !== field) { event.preventDefault(); event.stopPropagation(); step(event.shiftKey ? 1 : -1); }
    else if (/^[0-9]$/.test(event.key) && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) { event.stopPropagation(); inClass(Number(event.key)); }
  });

  const sprite = make("img", { src: info.sprite, alt: "" }), judged = make("p", { class: "quiet" });
  const tiles = Array.from({ length: 6 }, () => make("figure", {}, canvas({ role: "img", "aria-label": "training image" }), make("figcaption")));
  const all = button("Search all of them", () => ask("near", { levels: [...image] }, "Searching all training images …", ({ near, count, real }) => {
    say("");
    neighbours(near.map(({ distance, c, number, levels }) => ({ distance, c, number, onto: (context) => paint(context.canvas, levels) })), count, real);
  }), { disabled: !kernel });
  const directions = info.directions.map(({ less, more, measured, effect }, k) => { // to the right is always more
    const turn = effect < 0 ? -1 : 1;
    const last = more.split(" ").at(-1), short = less.endsWith(` ${last}`) ? less.slice(0, -last.length - 1) : less; // less ↔ more sleeve
    const one = slider(less ? `${short} ↔ ${more}` : more, -30, 30, 1, () => turn * state.d[k], (v) => { stop(); state = { ...state, d: state.d.map((old, i) => (i === k ? turn * v : old)) }; },
      (v) => (v === 0 ? "0 σ" : less ? `${v > 0 ? more : less} ${Math.abs(v / 10)} σ` : `${v / 10} σ`));
    one.title = `2 σ change ${measured} by ${Math.abs(effect).toFixed(2)} standard deviations${several ? " within a class" : ""}`;
    return { one, clear: less ? Math.abs(effect) : 0 };
  }).sort((a, b) => b.clear - a.clear);
  const part = (title, open, ...inside) => make("details", { class: "wide", open }, make("summary", {}, title), make("div", {}, ...inside));
  const row = (...inside) => make("div", { class: "row" }, ...inside), quiet = (text) => make("p", { class: "quiet" }, text);
  const unnamed = directions.filter(({ clear }) => !clear).map(({ one }) => one);
  el.replaceChildren(make("div", { class: "fgx", tabindex: "-1" },
    several ? make("div", { class: "wide" }, quiet(choice ? (many ? "The class: search, choose in the list, or Enter for the first; keys 0 to 9" : `The same latent in every class; keys 0 to ${Math.min(9, names.length - 1)}`) : "This model cannot be asked for a class."), classes) : "",
    make("div", {}, stage, seen, row(back, forth, button("Reset", () => change(fresh(state.c, state.s))), button("Pin", pin))),
    make("div", {}, row(make("label", {}, "seed ", seed), button("Surprise me", surprise)), ...directions.filter(({ clear }) => clear).map(({ one }) => one),
      slider("truncation", 0, 150, 1, () => state.t, (t) => { stop(); state = { ...state, t }; }, (t) => (t / 100).toFixed(2)),
      row(field, button("Go to code", () => go(field.value)), button("Copy code", () => copy(() => navigator.clipboard.writeText(stage.dataset.code), "The code is copied."))), alert),
    part("Does it copy? The nearest training images", true, judged, row(...tiles), row(all, kernel ? "" : quiet(`All ${info.train.toLocaleString("en")}: ${NO_KERNEL}.`))),
    part("Pins, mixtures and a film", false, quiet(`Pin ${thing}s, choose two of them, mix them or play the way from one to the other.`), shelf,
      row(make("label", {}, "A ", picked[0]), make("label", {}, "B ", picked[1]), playing), share),
    part("An own photo", false, quiet(`Choose or drop a picture${colours > 1 ? "" : ` of one ${clothes ? thing : "thing"} on a plain ground`}. It stays on this machine.`),
      drop, steps, found, row(colours > 1 ? "" : turn, finding), kernel ? "" : quiet(`This ${NO_KERNEL}.`)),
    part("Take it with you", false, row(button("Copy PNG", () => copy(async () => navigator.clipboard.write([new ClipboardItem({ "image/png": await sheet([image]) })]), "The picture is copied.")),
      button("Save PNG", async () => save(await sheet([image]), `${stage.dataset.code.slice(0, 40)}.png`)), button("Save strip", strip), button("Save GIF", moving)),
    quiet(`Strip and GIF show the way from pin A to pin B, or ${choice ? (many ? "some of the classes" : "every class") : `this ${thing}`} where fewer than two are pinned.`)),
    ...(unnamed.length ? [part("Directions without a clear effect", false, ...unnamed)] : [])));
  const given = () => { const code = model.get("code"); if (code && code !== history[at]) go(code); };
  model.on("change:code", given);
  model.on("msg:custom", heard);
  away.push(() => { model.off("change:code", given); model.off("msg:custom", heard); });
  const address = () => (page && location.hash.startsWith("#F1-") ? location.hash.slice(1) : "");
  if (page) listen(window, "hashchange", () => { const code = address(); if (code && code !== history[at]) go(code); });
  const first = address() || model.get("code");
  keep();
  if (!globalThis.DecompressionStream) say("This browser is too old to unpack the generator.");
  if (first) go(first);
  if (at === 0) draw();
  return () => { stop(); work.end(); clearTimeout(asked?.late); away.forEach((leave) => leave()); };
}

export default { core, render };
