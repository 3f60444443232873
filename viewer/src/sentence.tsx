/** The tokens as text: a click pins one; the tint is its share in the pinned token at this layer. */
import { useEffect, useRef } from "preact/hooks";
import { palette } from "./colours";
import { share } from "./maps";
import { present } from "./numbers";
import { go, onHover, point } from "./state";
import type { View } from "./view";

export function pin(view: View, token: number, second: boolean): void {
  const { state } = view;
  if (second) go({ second: state.second === token ? -1 : token });
  else go({ pin: state.pin === token ? -1 : token, ...(state.second === token ? { second: -1 } : {}) });
}

export function Sentence({ view }: { view: View }) {
  const ref = useRef<HTMLParagraphElement>(null), { result, map, state } = view;
  const square = map !== null && map.rows.length === map.columns.length && state.pin >= 0 && state.pin < result.labels.length;
  const p = palette();
  useEffect(() => onHover(({ i, j }) => {
    const spans = ref.current!.children;
    for (const old of ref.current!.querySelectorAll(".near")) old.classList.remove("near");
    if (i !== null && (map?.rows === map?.columns)) spans[i]?.classList.add("near");
    if (j !== null) spans[j]?.classList.add("near");
  }), [map]);
  const words = result.head.words;
  return (
    <p class="sentence panel" ref={ref} dir="auto" role="group" aria-label="Tokens: press to pin"
      onPointerLeave={() => point(null)}
      onPointerOver={(e) => { const at = (e.target as HTMLElement).closest("button"); if (at) point({ i: null, j: Number(at.dataset.token) }); }}
      onClick={(e) => { const at = (e.target as HTMLElement).closest("button"); if (at) pin(view, Number(at.dataset.token), e.shiftKey); }}>
      {result.labels.map((label, k) => {
        const part = square ? (state.forward ? share(map!, state.pin, k) : share(map!, k, state.pin)) : NaN;
        const tint = present(part) && Math.abs(part) < Infinity ? Math.round(45 * Math.min(1, Math.sqrt(Math.abs(part)))) : 0;
        return (
          <button key={k} type="button" data-token={k} title={`${label.raw} · ${k}`}
            class={`token${label.special ? " special" : ""}${words && k && words[k] === words[k - 1] ? " joined" : ""}${k === state.pin ? " pin" : ""}${k === state.second ? " second" : ""}`}
            aria-pressed={k === state.pin || k === state.second} tabIndex={k === Math.max(0, state.pin) ? 0 : -1}
            style={tint ? `background:color-mix(in srgb, ${part < 0 ? p.neg : p.pos} ${tint}%, transparent)` : undefined}
            onKeyDown={(e) => {
              const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
              if (!step) return;
              e.preventDefault();
              const next = ref.current!.children[k + step] as HTMLElement | undefined;
              next?.focus();
              if (next) point({ i: null, j: k + step });
            }}>{label.text}</button>
        );
      })}
    </p>
  );
}
