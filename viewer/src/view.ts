/** What the state shows of the results: which map of which layer, and what has to be fetched for it. */
import { difference } from "./difference";
import { head as headsOf, limit, MapName, mapNames, MapView, PART, readMap } from "./maps";
import type { Result } from "./result";
import { session } from "./session";
import type { State } from "./state";

/** Maps of this size are fetched for every layer at once; larger ones of the layer looked at alone. */
const AT_ONCE = 48e6;
const USUAL_HEADS = 16;

export interface View {
  state: State;
  result: Result;
  names: MapName[];
  name: MapName;
  layer: number;
  heads: number[];
  head: string;
  /** Of each layer of the result; null while it is not there. */
  maps: (MapView | null)[];
  map: MapView | null;
  /** The map that is drawn: `map`, what it is compared with, or the difference. */
  drawn: MapView | null;
  other: MapView | null;
  end: number;
  missing: string | null;
}

export function look(result: Result, state: State): View {
  const names = mapNames(result), name = names.find((n) => n === state.map) ?? names[0] ?? "layer", part = PART[name];
  const done = result.layers.filter((l) => result.done(l));
  const layer = result.layers.includes(state.layer) ? state.layer : done[done.length - 1] ?? result.layers[0];
  result.want(layer, part);
  const bytes = 4 * result.labels.length ** 2 * (part === "att" ? USUAL_HEADS : 1) * result.layers.length;
  if (part !== "mlp" && bytes <= AT_ONCE) for (const l of done) result.want(l, part);
  if (state.view === "heads") result.want(layer, "att");
  const heads = headsOf(result, layer), head = heads.includes(Number(state.head)) ? state.head : heads.length === 1 ? String(heads[0]) : "sum";
  const maps = result.layers.map((l) => readMap(result, l, name, head)), map = readMap(result, layer, name, head);
  const other = state.view === "compare" ? compared(result, state, layer, name, head) : null;
  const drawn = state.view !== "compare" || state.side === "a" ? map
    : state.side === "b" ? other
    : map && other && difference(map, other, state.b in COMPOSED ? null : session.alignment);
  const missing = result.missing(part, layer);
  return { state, result, names, name, layer, heads, head, maps, map, drawn, other, missing, end: drawn ? ends(drawn, state, map, other) : 1 };
}

export const COMPOSED: Record<string, MapName> = { product: "product", conserving: "conserving", layer: "layer" };

function compared(result: Result, state: State, layer: number, name: MapName, head: string): MapView | null {
  const composed = COMPOSED[state.b];
  if (composed) {
    result.want(layer, PART[composed]);
    return readMap(result, layer, composed, head);
  }
  session.b?.want(layer, PART[name]);
  return session.b && readMap(session.b, layer, name, head);
}

/** a and b share one scale. */
function ends(drawn: MapView, state: State, map: MapView | null, other: MapView | null): number {
  const one = (m: MapView): number => limit(m, state.scale / 100, state.share, state.special);
  return state.view === "compare" && state.side !== "d" && map && other ? Math.max(one(map), one(other)) : one(drawn);
}
