/** b less a, on a's tokens: NaN where one of the two has no such cell. */
import { Kind, MapView } from "./maps";

const made = new WeakMap<MapView, { other: MapView; alignment: [number, number][] | null; view: MapView }>();

/** By pairs of tokens that are the same; null: token by token. */
export function difference(a: MapView, b: MapView, alignment: [number, number][] | null): MapView | null {
  if (!alignment && (a.columns.length !== b.columns.length || a.rows.length !== b.rows.length)) return null;
  const kept = made.get(a);
  if (kept?.other === b && kept.alignment === alignment) return kept.view;
  const count = a.columns.length, to = new Int32Array(count).fill(-1);
  if (alignment) for (const [i, j] of alignment) to[i] = j;
  else for (let i = 0; i < count; i++) to[i] = i;
  const rowOf = (i: number): number => (a.rows === a.columns ? to[i] : i);
  const values = new Float64Array(a.rows.length * count).fill(NaN);
  for (let i = 0; i < a.rows.length; i++) {
    for (let j = 0; j < count; j++) {
      if (rowOf(i) >= 0 && to[j] >= 0) values[i * count + j] = b.values[rowOf(i) * b.columns.length + to[j]] - a.values[i * count + j];
    }
  }
  const view: MapView = {
    ...a, values, error: undefined, entries: undefined, nodes: undefined, status: undefined, diagnostic: undefined,
    total: Float64Array.from(a.total, (x, j) => (to[j] < 0 ? NaN : b.total[to[j]] - x)),
    converged: a.converged.map((c, j) => (c === null || to[j] < 0 ? null : c && b.converged[to[j]])),
    about: "b less a.", difference: true,
    kind: (i, j) => (Number.isNaN(values[i * count + j]) ? Kind.Absent
      : a.kind(i, j) === b.kind(rowOf(i), to[j]) ? a.kind(i, j) : Kind.Value),
  };
  made.set(a, { other: b, alignment, view });
  return view;
}

export interface Change { i: number; j: number; a: number; b: number }
export interface Summary { l2: number; relative: number; pearson: number; top: Change[] }

/** The difference in numbers: norms and correlation over the cells of both, and the largest changes. */
export function summarise(a: MapView, d: MapView, top: number): Summary {
  const pairs: [number, number, number][] = [];
  for (let k = 0; k < d.values.length; k++) if (!Number.isNaN(d.values[k])) pairs.push([k, a.values[k], a.values[k] + d.values[k]]);
  const sum = (f: (x: number, y: number) => number): number => pairs.reduce((s, [, x, y]) => s + f(x, y), 0);
  const l2 = Math.sqrt(sum((x, y) => (y - x) ** 2)), size = Math.sqrt(sum((x) => x * x));
  const [mx, my] = [sum((x) => x) / pairs.length, sum((_, y) => y) / pairs.length];
  const pearson = sum((x, y) => (x - mx) * (y - my)) / Math.sqrt(sum((x) => (x - mx) ** 2) * sum((_, y) => (y - my) ** 2));
  pairs.sort((p, q) => Math.abs(q[2] - q[1]) - Math.abs(p[2] - p[1]));
  const count = d.columns.length;
  return {
    l2, relative: l2 / size, pearson,
    top: pairs.slice(0, top).map(([k, x, y]) => ({ i: Math.floor(k / count), j: k % count, a: x, b: y })),
  };
}
