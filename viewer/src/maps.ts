/** The maps of a layer as the views take them: [source][target] with a certificate, and what each zero means. */
import { Label, Part, Result } from "./result";
import type { Layer, Values } from "./tensors";

export type MapName = "layer" | "product" | "conserving" | "att" | "mlp";
export const PART: Record<MapName, Part> = {
  layer: "layer", product: "composed", conserving: "composed", att: "att", mlp: "mlp",
};
export const TITLES: Record<MapName, string> = {
  layer: "layer z → z′",
  product: "composed, product",
  conserving: "composed, conserving",
  att: "attention z → u",
  mlp: "MLP u → z′",
};
const BASELINES: Record<string, string> = {
  self_input_token: "ITB: every token starts as the target; its own term is 0 by definition",
  zero: "the path starts at 0",
  itb_zero_ratio: "ITB: every token starts as the target; the self term in the proportion it has from 0",
  itb_map_ratio: "ITB: every token starts as the target; the self term in the proportion of the attention weight",
  att_itb_a0: "u starts as it is when every token is the target",
};
const STATUSES = ["ok", "zero path", "noise limited", "discontinuous", "budget", "fixed"];

/** What a cell is, beside its value. */
export const enum Kind { Value, Masked, Definition, Absent }

export interface MapView {
  name: MapName;
  rows: { text: string; index?: number; special?: boolean; aside?: boolean; raw?: string }[];
  columns: Label[];
  /** [row * columns + target]; NaN where it was not asked for. */
  values: Float64Array | Float32Array;
  /** Of each target; NaN or null where it was not asked for. */
  total: Float64Array;
  error?: Float64Array;
  entries?: Float64Array;
  nodes?: Float64Array;
  status?: (string | null)[];
  converged: (boolean | null)[];
  diagnostic?: { distance: Float64Array; normalised: Float64Array; pearson: Float64Array };
  about: string;
  /** It is b less a: shares of its totals say nothing. */
  difference?: boolean;
  kind(row: number, target: number): Kind;
}

export const head = (result: Result, layer: number): number[] => [...(result.layer(layer)?.["att.heads"]?.values ?? [])];

/** The names of maps that a result has, or may have. */
export function mapNames(result: Result): MapName[] {
  return (Object.keys(PART) as MapName[]).filter((name) => result.parts.includes(PART[name]));
}

/** One map of one layer; null until it is there. */
export function readMap(result: Result, layer: number, name: MapName, chosen: string): MapView | null {
  const key = `${layer} ${name} ${chosen}`;
  if (!result.views.has(key)) {
    const arrays = result.layer(layer);
    const view = arrays ? read(result, arrays, name, chosen) : null;
    if (!view) return null;
    result.views.set(key, view);
  }
  return result.views.get(key) as MapView;
}

function read(result: Result, layer: Layer, name: MapName, chosen: string): MapView | null {
  const tensor = { layer: "z2z", product: "composed.product", conserving: "composed.conserving", att: "att", mlp: "mlp" }[name];
  const whole = layer[tensor] ?? scattered(layer, tensor, result.labels.length);
  if (!whole) return null;
  const count = result.labels.length, targets = [...layer.targets.values];
  const spread = (column: ArrayLike<number> | undefined): Float64Array => {
    const all = new Float64Array(count).fill(NaN);
    if (column) targets.forEach((target, k) => { all[target] = column[k]; });
    return all;
  };
  let { values } = whole, height = whole.shape[whole.shape.length - 2];
  let certificate = (part: string): ArrayLike<number> | undefined => layer[`${tensor}.${part}`]?.values;
  let rows: MapView["rows"] = result.labels;
  if (name === "att") {
    const heads = head(result, layer0(result, layer)), at = chosen === "sum" ? heads.map((_, k) => k) : [heads.indexOf(Number(chosen))];
    if (at[0] < 0) return null;
    const size = height * targets.length, one = certificate;
    values = together(at.map((k) => values.subarray(k * size, (k + 1) * size) as Values), (a, b) => a + b);
    certificate = (part) => {
      const all = one(part) as Values | undefined;
      if (!all) return undefined;
      const join = part === "total" ? (a: number, b: number) => a + b : part === "converged" ? Math.min : Math.max;
      return together(at.map((k) => all.subarray(k * targets.length, (k + 1) * targets.length) as Values), join);
    };
  } else if (name === "mlp") {
    const perHead = layer["mlp.per_head"];
    const weighed = perHead ? null : strongest(values, height, targets.length);
    values = perHead?.values ?? weighed!.values;
    height = perHead?.shape[0] ?? weighed!.rows.length;
    rows = perHead ? Array.from({ length: height }, (_, h) => ({ text: `head ${h}` })) : weighed!.rows;
  }
  const dense = targets.length === count && !(values instanceof Uint8Array) ? values : new Float64Array(height * count).fill(NaN);
  if (dense !== values) {
    for (let i = 0; i < height; i++) targets.forEach((target, k) => { dense[i * count + target] = values[i * targets.length + k]; });
  }
  const visible = name === "mlp" ? undefined : layer.visible?.values, first = spread(visible), last = spread(visible?.subarray(targets.length));
  const composed = name === "product" || name === "conserving";
  const status = certificate("status");
  const statuses = status && Array.from(spread(status), (x) => (Number.isNaN(x) ? null : STATUSES[x]));
  const converged = composed ? layer["composed.converged"]?.values : certificate("converged");
  const config = result.head.config ?? {};
  const itself = name !== "mlp" && config[name === "layer" ? "baseline_layer" : "baseline_att"] === "self_input_token";
  const total = composed ? sums(dense, height, count) : spread(certificate("total"));
  return {
    name, rows, columns: result.labels, values: dense as MapView["values"], total, status: statuses,
    error: composed ? undefined : spread(certificate("completeness_error")),
    entries: certificate("entry_error") && spread(certificate("entry_error")),
    nodes: composed ? undefined : spread(certificate("nodes")),
    converged: Array.from(spread(converged), (x) => (Number.isNaN(x) ? null : Boolean(x))),
    diagnostic: composed && certificate("distance") ? {
      distance: spread(certificate("distance")), normalised: spread(certificate("normalised_distance")), pearson: spread(certificate("pearson")),
    } : undefined,
    about: composed
      ? `From attention (${config.baseline_att}) and MLP (${config.baseline_mlp}).`
      : `Baseline ${config[`baseline_${name}`] ?? "not said"}: ${BASELINES[config[`baseline_${name}`]] ?? "as configured"}.`,
    kind: (i, j) => {
      if (Number.isNaN(dense[i * count + j])) return Kind.Absent;
      if (i < first[j] || i > last[j]) return Kind.Masked;
      return (itself && i === j && dense[i * count + j] === 0) || statuses?.[j] === "zero path" ? Kind.Definition : Kind.Value;
    },
  };
}

const layer0 = (result: Result, layer: Layer): number => result.layers.find((l) => result.layer(l) === layer)!;

function together(parts: Values[], join: (a: number, b: number) => number): Values {
  if (parts.length === 1) return parts[0];
  const all = Float64Array.from(parts[0]);
  for (const part of parts.slice(1)) for (let k = 0; k < all.length; k++) all[k] = join(all[k], part[k]);
  return all;
}

function sums(values: ArrayLike<number>, height: number, count: number): Float64Array {
  const total = new Float64Array(count);
  for (let i = 0; i < height; i++) for (let j = 0; j < count; j++) total[j] += values[i * count + j];
  return total;
}

/** A selection of each column's largest entries as a whole map: NaN elsewhere. */
function scattered(layer: Layer, tensor: string, height: number): Layer[string] | null {
  const top = layer[`${tensor}.top`], places = layer[`${tensor}.top_index`];
  if (!top || tensor === "mlp") return null;
  const [ranks, targets] = top.shape.slice(-2), blocks = top.values.length / (ranks * targets);
  const values = new Float64Array(blocks * height * targets).fill(NaN);
  for (let b = 0; b < blocks; b++) for (let r = 0; r < ranks; r++) for (let j = 0; j < targets; j++) {
    const at = (b * ranks + r) * targets + j;
    values[(b * height + places.values[at]) * targets + j] = top.values[at];
  }
  return { shape: [...top.shape.slice(0, -2), height, targets], values };
}

const SHOWN_DIMENSIONS = 24;
/** The dimensions of u that weigh most over all targets, and the sum of the others. */
function strongest(values: Values, height: number, count: number): { values: Float64Array; rows: MapView["rows"] } {
  const weights = Array.from({ length: height }, (_, d) => [...values.subarray(d * count, (d + 1) * count)].reduce((a, x) => a + Math.abs(x), 0));
  const order = weights.map((_, d) => d).sort((a, b) => weights[b] - weights[a]);
  const kept = order.slice(0, SHOWN_DIMENSIONS), rest = order.slice(SHOWN_DIMENSIONS);
  const rows: MapView["rows"] = kept.map((d) => ({ text: `u[${d}]` }));
  const lines = kept.map((d) => [...values.subarray(d * count, (d + 1) * count)]);
  if (rest.length) {
    rows.push({ text: `${rest.length} others`, aside: true, special: true });
    lines.push(Array.from({ length: count }, (_, j) => rest.reduce((a, d) => a + values[d * count + j], 0)));
  }
  return { values: Float64Array.from(lines.flat()), rows };
}

/** A column that was asked for and has no values: heads of which only rounding is known would pass on too much of it. */
export const isUnknown = (map: MapView, j: number): boolean => map.converged[j] !== null && Number.isNaN(map.total[j]);
/** A value as a share of its column's total. */
export const share = (map: MapView, i: number, j: number): number => map.values[i * map.columns.length + j] / map.total[j];

const MOST_SAMPLES = 1 << 16;
const limits = new WeakMap<MapView, Map<string, number>>();
/** The value at which colours end: below it lies this share of all values, special sources left out on demand. */
export function limit(map: MapView, quantile: number, shares: boolean, hideSpecial: boolean): number {
  if (!limits.has(map)) limits.set(map, new Map());
  const kept = limits.get(map)!, key = `${quantile} ${shares} ${hideSpecial}`;
  if (!kept.has(key)) kept.set(key, measured(map, quantile, shares, hideSpecial));
  return kept.get(key)!;
}

function measured(map: MapView, quantile: number, shares: boolean, hideSpecial: boolean): number {
  const count = map.columns.length, rows = map.rows.map((_, i) => i).filter((i) => !(hideSpecial && map.rows[i].aside));
  const step = quantile < 1 ? Math.max(1, Math.floor((rows.length * count) / MOST_SAMPLES)) : 1;
  const found = new Float64Array(Math.ceil((rows.length * count) / step));
  let size = 0;
  for (let k = 0; k < rows.length * count; k += step) {
    const j = k % count, x = Math.abs(map.values[rows[Math.floor(k / count)] * count + j] / (shares ? map.total[j] : 1));
    if (x > 0 && x < Infinity) found[size++] = x;
  }
  const sorted = found.subarray(0, size).sort(), end = sorted[Math.floor(quantile * (size - 1))] || sorted[size - 1] || 1;
  return shares ? Math.min(1, end) : end;
}
