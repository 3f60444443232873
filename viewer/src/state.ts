/** What is looked at. All of it is in the address, so that a view can be linked to, reloaded, and gone back to. */

export const DEFAULTS = {
  job: "", b: "", view: "flow", map: "layer", layer: -1, head: "sum", pin: -1, second: -1, forward: false,
  k: 2, least: 5, path: 1, special: false, scale: 98, share: false, side: "a",
};
export type State = typeof DEFAULTS;
type Listener = () => void;

let state: State = { ...DEFAULTS };
const listeners = new Set<Listener>();

export const current = (): State => state;
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Change what is looked at. A step is an entry in the browser's history; sliding is not. */
export function go(change: Partial<State>, step = true): void {
  const before = written(state);
  state = { ...state, ...change };
  const now = written(state);
  if (now !== before) {
    try {
      history[step ? "pushState" : "replaceState"](null, "", `#${now}`);
    } catch { /* a page embedded in another has no address of its own */ }
  }
  for (const listener of listeners) listener();
}

function written(of: State): string {
  const entries = Object.entries(of).filter(([key, value]) => value !== DEFAULTS[key as keyof State]);
  return new URLSearchParams(entries.map(([key, value]) => [key, value === true ? "1" : String(value)])).toString();
}

/** Read the address; what it does not name is as it is by default. */
export function restore(): void {
  const found: Record<string, unknown> = { ...DEFAULTS };
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    const usual = DEFAULTS[key as keyof State];
    if (typeof usual === "number" && Number.isFinite(Number(text))) found[key] = Number(text);
    else if (typeof usual === "boolean") found[key] = text === "1";
    else if (typeof usual === "string") found[key] = text;
  }
  state = found as State;
  for (const listener of listeners) listener();
}

/** The token or cell under the mouse or the keyboard's cursor; beside the state, for it changes with every move. */
export interface Hover { i: number | null; j: number | null; layer?: number }
const NOTHING: Hover = { i: null, j: null };
let hover: Hover = NOTHING;
const hoverers = new Set<(hover: Hover) => void>();
export function point(to: Hover | null): void {
  const next = to ?? NOTHING;
  if (next.i === hover.i && next.j === hover.j && next.layer === hover.layer) return;
  hover = next;
  for (const listener of hoverers) listener(hover);
}
export const pointed = (): Hover => hover;
export function onHover(listener: (hover: Hover) => void): () => void {
  hoverers.add(listener);
  return () => hoverers.delete(listener);
}
