/** Reads the safetensors format: the length of a header in eight bytes, the header, then the numbers of every tensor. */

export type Values = Float32Array | Float64Array | Uint8Array;
export interface Tensor {
  shape: number[];
  values: Values;
}
/** The tensors of one layer, named as in `lig_core/result/arrays.py`. */
export type Layer = Record<string, Tensor>;

const ALIGNED = { F32: Float32Array, F64: Float64Array, BOOL: Uint8Array, U8: Uint8Array } as const;

/** The metadata of a file, and its tensors by layer; names without `layers.N.` are those of layer `only`. */
export function parse(file: ArrayBuffer, only = -1): { metadata: Record<string, string>; layers: Map<number, Layer> } {
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  const layers = new Map<number, Layer>();
  const { __metadata__: metadata = {}, ...tensors } = header;
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries<any>(tensors)) {
    const [, index, part] = /^(?:layers\.(\d+)\.)?(.*)$/.exec(name)!;
    const layer = index === undefined ? only : Number(index);
    const bytes = file.slice(8 + length + start, 8 + length + end);
    const values = dtype === "I64"
      ? Float64Array.from(new BigInt64Array(bytes), Number)
      : new ALIGNED[dtype as keyof typeof ALIGNED](bytes);
    if (!layers.has(layer)) layers.set(layer, {});
    layers.get(layer)![part] = { shape, values };
  }
  return { metadata, layers };
}

export function decodeBase64(text: string): ArrayBuffer {
  const characters = atob(text.trim()), bytes = new Uint8Array(characters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = characters.charCodeAt(k);
  return bytes.buffer;
}
