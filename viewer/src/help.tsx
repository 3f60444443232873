/** The keys, and what is seen. */
import { useEffect, useRef } from "preact/hooks";

const KEYS: [string, string][] = [
  ["Page Up, Page Down", "the layer above, below"], ["[  ]", "the head before, after"], ["t", "trace into the pinned token, or from it"],
  ["s", "hide special tokens"], ["f", "fit the map"], ["Esc", "unpin"], ["Arrows", "in the map: move; in the tokens: go on"],
  ["Enter", "pin; with Shift, a second one"], ["+ −", "zoom the map"], ["?", "this"],
];

export function Help({ close }: { close: () => void }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => ref.current!.showModal(), []);
  return (
    <dialog ref={ref} onClose={close} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl class="keys">{KEYS.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>
      <h2>What is seen</h2>
      <p>A column of a map is one target token at one layer: how much each source contributed to it, in all as much as its total.
        The flow draws some of these entries, layer upon layer, the last one at the top. Each has the certificate of its column;
        what a path of several edges carries has none. A dotted stem is the token itself, where the baseline leaves its own term at 0.</p>
      <form method="dialog"><button>Close</button></form>
    </dialog>
  );
}
