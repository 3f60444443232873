/** The edges that lead to a token through the layers, or from it: each one entry of one layer's map. */
import { MapView, Kind, share } from "./maps";

export interface Edge {
  layer: number;
  source: number;
  target: number;
  value: number;
  share: number;
  converged: boolean;
  /** The product of shares along the strongest path by way of this edge: it has no certificate, and only hides edges. */
  product: number;
}
export interface Stem { layer: number; token: number }
export interface Trace { edges: Edge[]; stems: Stem[]; hidden: number }

export interface Rules {
  k: number;
  /** Least share of a column's total. */
  least: number;
  /** Least product of shares along a path. */
  path: number;
  hideSpecial: boolean;
  forward: boolean;
}

/** `maps[k]` is that of layers[k], null while it is not there: no path leads through a layer that is not there. */
export function trace(layers: number[], maps: (MapView | null)[], token: number, rules: Rules): Trace {
  const order = layers.map((_, k) => k);
  if (!rules.forward) order.reverse();
  const edges: Edge[] = [], stems: Stem[] = [];
  let frontier = new Map([[token, 1]]), hidden = 0, before = -1;
  for (const k of order) {
    const map = maps[k];
    if (!map || (before >= 0 && Math.abs(layers[k] - layers[before]) !== 1)) frontier = new Map([[token, 1]]);
    before = k;
    if (!map) continue;
    const next = new Map<number, number>();
    for (const [from, weight] of frontier) {
      const others = map.columns.map((_, n) => n).filter((n) => !(rules.hideSpecial && n !== token && map.columns[n].aside));
      const found = others
        .map((n) => {
          const [source, target] = rules.forward ? [from, n] : [n, from];
          return { source, target, share: share(map, source, target) };
        })
        .filter((e) => Math.abs(e.share) >= rules.least && Math.abs(e.share) < Infinity && map.kind(e.source, e.target) === Kind.Value)
        .sort((a, b) => Math.abs(b.share) - Math.abs(a.share))
        .slice(0, rules.k);
      for (const e of found) {
        const product = weight * Math.abs(e.share);
        if (product < rules.path) {
          hidden++;
          continue;
        }
        edges.push({
          ...e, layer: layers[k], product, value: map.values[e.source * map.columns.length + e.target],
          converged: map.converged[e.target] !== false,
        });
        const to = rules.forward ? e.target : e.source;
        next.set(to, Math.max(next.get(to) ?? 0, product));
      }
    }
    // What the residual connection carries has no value in an ITB map; the token itself goes on all the same.
    if (!edges.some((e) => e.layer === layers[k] && e.source === token && e.target === token)) stems.push({ layer: layers[k], token });
    next.set(token, 1);
    frontier = next;
  }
  return { edges, stems, hidden };
}
