// What lies between two vectors: each quantity with its formula and the sum of it, in 64 bits.

function dotProduct(a, b) {
  let total = 0;
  for (let at = 0; at < a.length; at++) total += a[at] * b[at];
  return total;
}

function lengthOf(a) {
  return Math.sqrt(dotProduct(a, a));
}

/** NaN where one of them is all zeros, and has no direction. */
function cosineOf(a, b) {
  const lengths = lengthOf(a) * lengthOf(b);
  return lengths > 0 ? dotProduct(a, b) / lengths : NaN;
}

/** Rounding may carry the cosine of a vector with itself past 1, where there is no angle. */
function degreesOf(cosine) {
  return (Math.acos(Math.min(Math.max(cosine, -1), 1)) * 180) / Math.PI;
}

function distanceOf(a, b) {
  return Math.sqrt(a.reduce((some, value, at) => some + (value - b[at]) ** 2, 0));
}

/** Every row of a matrix with every row: dot products or cosines. */
function similarities(numbers, cosine) {
  const count = numbers.shape[0];
  const found = new Float32Array(count * count);
  const rows = Array.from({ length: count }, (_, row) => numbers.row(row));
  for (let one = 0; one < count; one++) {
    for (let other = one; other < count; other++) {
      const value = (cosine ? cosineOf : dotProduct)(rows[one], rows[other]);
      found[one * count + other] = found[other * count + one] = value;
    }
  }
  return new Numbers(found, [count, count]);
}
