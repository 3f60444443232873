/** A result, whose layers come as they are there: the same for a live job and for what a page holds. */
import type { Layer } from "./tensors";

export type Part = "layer" | "composed" | "att" | "mlp";
export interface Head {
  text: string;
  tokens: string[];
  token_labels?: string[];
  words?: number[];
  model: string;
  model_type?: string;
  config?: Record<string, any>;
  receipt?: Record<string, any>;
  boundaries?: Record<string, any>;
}
export interface Verdict {
  converged: boolean | null;
  columns?: Record<string, number>;
}
export interface Label {
  index: number;
  text: string;
  raw: string;
  special: boolean;
  /** Hidden on demand: a special token, or the first where none is special: either draws what has nowhere to go. */
  aside: boolean;
}

const SPECIAL = /^(\[[A-Z]+\d*\]|<\/?[a-z_0-9]+>|<\|.*\|>)$/;

/** White space made visible: a token may be nothing else. */
const visible = (text: string): string =>
  text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ +| +$/g, (s) => (text.trim() ? "" : "␣".repeat(s.length))) || "∅";

export abstract class Result {
  readonly labels: Label[];
  readonly layers: number[];
  verdict: Verdict | null = null;
  /** A counter of what has come; views are drawn anew when it changes. */
  version = 0;
  changed: () => void = () => {};
  private readonly held = new Map<number, Layer>();
  readonly views = new Map<string, unknown>();

  constructor(readonly id: string, readonly head: Head, layers: number[]) {
    this.layers = layers;
    const none = !head.tokens.some((raw) => SPECIAL.test(raw));
    this.labels = head.tokens.map((raw, index) => ({
      index, raw, special: SPECIAL.test(raw), aside: SPECIAL.test(raw) || (none && !index), text: visible(head.token_labels?.[index] ?? raw),
    }));
  }

  /** The maps that were asked for, whether or not they are here. */
  abstract readonly parts: Part[];
  /** True if a layer has been computed. */
  abstract done(layer: number): boolean;
  /** What has to be said of a part that is not here: a command that brings it; null where it is on its way. */
  abstract missing(part: Part, layer: number): string | null;
  /** Ask for a part of a layer. */
  abstract want(layer: number, part: Part): void;

  layer(layer: number): Layer | undefined {
    return this.held.get(layer);
  }
  protected add(layer: number, tensors: Layer): void {
    this.held.set(layer, { ...this.held.get(layer), ...tensors });
    for (const key of this.views.keys()) if (key.startsWith(`${layer} `)) this.views.delete(key);
    this.version++;
  }
}

export const named = (label: Label): string => `“${label.text}” ${label.index}`;
