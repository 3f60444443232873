/** The cell under the pointer or the keyboard's cursor, exactly. */
import { useHover } from "./hooks";
import { Kind, isUnknown, share } from "./maps";
import { digits, percent } from "./numbers";
import { named } from "./result";
import type { View } from "./view";

export function Readout({ view }: { view: View }) {
  const { i, j, layer } = useHover();
  const at = layer === undefined ? -1 : view.result.layers.indexOf(layer), map = at >= 0 ? view.maps[at] : view.drawn;
  const column = map && j !== null ? map.columns[j] : null, row = map && i !== null ? map.rows[i] : null;
  if (!map || !column) return <p class="readout soft" id="readout" role="status">Point at a cell for its exact value; press to pin its target.</p>;
  const failed = map.converged[j!] === false ? <b class="warn">▲ not converged</b> : null;
  if (!row) return <p class="readout" id="readout" role="status">→ {named(column)} <span class="soft">total {digits(map.total[j!])}</span> {failed}</p>;
  const value = map.values[i! * map.columns.length + j!];
  const said = { [Kind.Masked]: "masked: the target does not see it", [Kind.Definition]: "0 by definition of the baseline", [Kind.Absent]: isUnknown(map, j!) ? "not known" : "not asked for", [Kind.Value]: "" }[map.kind(i!, j!)];
  return (
    <p class="readout" id="readout" role="status">
      {layer !== undefined ? `layer ${layer}: ` : ""}{row.index === undefined ? row.text : `“${row.text}” ${row.index}`} → {named(column)}{" "}
      {said ? <span class="soft">{said}</span> : <><b>{digits(value)}</b> {map.difference ? null : <span>{percent(share(map, i!, j!), 4)} of {digits(map.total[j!])}</span>}</>} {failed}
    </p>
  );
}
