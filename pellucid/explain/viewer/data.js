// A trace: its manifest, and its numbers when they are asked for, from the page itself or from the server that gave it.

/** Many numbers with a shape. */
class Numbers {
  constructor(data, shape) {
    this.data = data;
    this.shape = shape;
  }

  /** One of them. */
  at(...index) {
    let place = 0;
    this.shape.forEach((size, axis) => { place = place * size + index[axis]; });
    return this.data[place];
  }

  /** A matrix: of an array with three axes the one of a head; a vector is a matrix of one row. */
  matrix(head = 0) {
    const [rows, columns] = [this.shape.length > 1 ? this.shape.at(-2) : 1, this.shape.at(-1) ?? 1];
    const start = this.shape.length === 3 ? head * rows * columns : 0;
    return new Numbers(this.data.subarray(start, start + rows * columns), [rows, columns]);
  }

  /** One row of a matrix. */
  row(number) {
    const width = this.shape.at(-1);
    return this.data.subarray(number * width, (number + 1) * width);
  }
}

class Trace {
  /** `bytes(kind, name)` promises an ArrayBuffer of little-endian float32. */
  constructor(manifest, bytes) {
    Object.assign(this, manifest); // text, output, names, vocabulary, steps, taps, weights, model, ...
    this.list = manifest.taps;
    this.taps = new Map(manifest.taps.map((tap) => [tap.name, tap]));
    this.bytes = bytes;
    this.kept = new Map();
  }

  has(name) {
    return this.taps.has(name);
  }

  /** The numbers of a tap, or of an input ("inputs.source"). */
  array(name) {
    return this.promised("tap", name, this.taps.get(name)?.shape ?? this.inputs[name.replace("inputs.", "")]);
  }

  /** A weight of the model; null where it is not at hand. */
  async weight(name) {
    return name in this.weights ? this.promised("weight", name, this.weights[name]) : null;
  }

  promised(kind, name, shape) {
    const key = `${kind} ${name}`;
    if (!this.kept.has(key)) {
      if (shape === undefined) return Promise.reject(new Error(`there is no ${name} in this trace`));
      this.kept.set(key, this.bytes(kind, name).then((buffer) => new Numbers(new Float32Array(buffer), shape)));
    }
    return this.kept.get(key);
  }

  /** The labels of an axis: those of the vocabulary are kept once for all. */
  labels(tap, axis) {
    const found = tap.labels.at(axis);
    return found === "vocabulary" ? this.vocabulary : found;
  }

  /** How many layers a stack has, from its taps. */
  layers(stack) {
    let count = 0;
    for (const { name } of this.list) {
      const found = name.match(/^(\w+)\.layers\.(\d+)\./);
      if (found && found[1] === stack) count = Math.max(count, Number(found[2]) + 1);
    }
    return count;
  }
}

/** The trace that lies in the page. */
function embedded() {
  const manifest = JSON.parse(document.getElementById("trace").textContent);
  const coded = document.getElementById("numbers").textContent;
  return new Trace(manifest, async (kind, name) => {
    const [start, bytes] = manifest.places[`${kind} ${name}`]; // starts are multiples of 3 bytes, which are 4 letters
    const binary = atob(coded.slice((start / 3) * 4, Math.ceil((start + bytes) / 3) * 4));
    const found = new Uint8Array(bytes);
    for (let at = 0; at < bytes; at++) found[at] = binary.charCodeAt(at);
    return found.buffer;
  });
}

/** A question to the server; an answer that is an error is thrown as it was worded. */
async function asked(path, question = undefined) {
  const more = question === undefined ? {} : {
    method: "POST", body: JSON.stringify(question), headers: { "Content-Type": "application/json" },
  };
  const answer = await fetch(path, more).catch(() => { throw new Error("the server of this page has stopped: start it again"); });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

/** A trace that the server made. */
async function served(question) {
  return ofServer(await (await asked("/api/trace", question)).json());
}

/** A trace that is told by the server, which has its numbers. */
function ofServer(manifest) {
  return new Trace(manifest, async (kind, name) => {
    const query = new URLSearchParams({ trace: manifest.id, kind, name });
    return (await asked(`/api/numbers?${query}`)).arrayBuffer();
  });
}
