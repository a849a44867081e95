"use strict";
// A drawing made into a digit as MNIST's are: what fastbp/report/centring.py does.

/** Return the image (side * side), of values 0..1, of ink (height * width); null if it is empty. */
function centreDigit(ink, height, width, {side, box, ink: threshold}) {
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  if (!(most > 0)) return null;
  const isInk = (i, j) => ink[i * width + j] > threshold * most;
  const all = n => [...Array(n).keys()];
  const rows = all(height).filter(i => all(width).some(j => isInk(i, j)));
  const columns = all(width).filter(j => all(height).some(i => isInk(i, j)));
  const [top, left] = [rows[0], columns[0]];
  const [m, n] = [rows.at(-1) - top + 1, columns.at(-1) - left + 1];
  const [mNew, nNew] = [m, n].map(l => Math.max(1, roundHalfUp(box * l / Math.max(m, n))));
  const [byRow, byColumn] = [areaWeights(m, mNew), areaWeights(n, nNew)];
  const digit = byRow.map(weights => {
    const row = new Float64Array(n);
    weights.forEach((w, i) => {
      if (w) for (let j = 0; j < n; j++) row[j] += w * ink[(top + i) * width + left + j];
    });
    return byColumn.map(v => v.reduce((sum, w, j) => sum + w * row[j], 0));
  });
  const darkest = Math.max(...digit.flat());
  const firstRow = firstPixel(digit.map(sumOf), side);
  const firstColumn = firstPixel(byColumn.map((_, j) => sumOf(digit.map(row => row[j]))), side);
  const image = new Float64Array(side * side);
  digit.forEach((row, i) => row.forEach((value, j) => {
    image[(firstRow + i) * side + firstColumn + j] = value / darkest;
  }));
  return image;
}

/** Return nNew rows of n weights: each averages over the pixels, or parts of them, it covers. */
function areaWeights(n, nNew) {
  const scale = n / nNew;
  return Array.from({length: nNew}, (_, i) => Array.from({length: n}, (_, p) =>
    Math.max(0, Math.min((i + 1) * scale, p + 1) - Math.max(i * scale, p)) / scale));
}

/** Return where rows (or columns) begin if their centre of mass is at side / 2, as in MNIST. */
function firstPixel(mass, side) {
  const centre = sumOf(mass.map((value, i) => value * i)) / sumOf(mass);
  return Math.min(Math.max(roundHalfUp(side / 2 - centre), 0), side - mass.length);
}

const sumOf = values => values.reduce((a, b) => a + b, 0);
const roundHalfUp = x => Math.floor(x + 0.5);
