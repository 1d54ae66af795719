// Frames from the hub: decoded as strictly as the hub decodes ours, with what it left out filled in.
//
// The hub is ours, but what lies inside its frames was written by agents, and the page may be older than the hub: a
// frame that is not what the types say must not get into the store. Unknown fields are ignored, because a newer hub
// may have some, and then says its version.

import { FIELDS, FRAMES, type FromHub } from "./protocol";

/** A frame that is not one of the protocol's. `path` says where. */
export class BadFrame extends Error {
  constructor(
    what: string,
    readonly path: string,
  ) {
    super(`${path}: ${what}`);
  }
}

/** The frame in one message of the stream. Throws BadFrame. */
export function decodeFrame(text: string): FromHub {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadFrame("not JSON", "frame");
  }
  if (!isObject(value)) throw new BadFrame("not an object", "frame");
  const { type } = value;
  const name = typeof type === "string" && Object.hasOwn(FRAMES, type) ? FRAMES[type] : undefined;
  if (name === undefined) throw new BadFrame(`unknown type ${String(type).slice(0, 64)}`, "frame");
  // The table is written from the same classes as the types, so what fits the table is of the type.
  return { type, ...decodeView(value, name, String(type)) } as FromHub;
}

/** A view or frame by the name of its interface. Throws BadFrame. */
export function decodeView(value: unknown, name: string, path: string): Record<string, unknown> {
  if (!isObject(value)) throw new BadFrame("expected an object", path);
  const found: Record<string, unknown> = {};
  for (const [field, row] of Object.entries(FIELDS[name] ?? {})) {
    const given = value[field];
    if (given !== undefined) found[field] = decodeAs(given, row[0], `${path}.${field}`);
    else if (row.length > 1) found[field] = structuredCopy(row[1]);
    else throw new BadFrame("missing", `${path}.${field}`);
  }
  return found;
}

function decodeAs(value: unknown, kind: unknown, path: string): unknown {
  if (Array.isArray(kind)) return decodeCompound(value, kind, path);
  const fits =
    kind === "integer" ? Number.isInteger(value) : kind === "object" ? isObject(value) : typeof value === kind;
  if (!fits) throw new BadFrame(`expected ${String(kind)}`, path);
  return value;
}

function decodeCompound(value: unknown, [kind, ...rest]: unknown[], path: string): unknown {
  switch (kind) {
    case "one":
      if (!rest.includes(value)) throw new BadFrame(`unexpected value ${String(value).slice(0, 64)}`, path);
      return value;
    case "maybe":
      return value === null ? null : decodeAs(value, rest[0], path);
    case "view":
      return decodeView(value, String(rest[0]), path);
    case "list":
      if (!Array.isArray(value)) throw new BadFrame("expected a list", path);
      return value.map((item, index) => decodeAs(item, rest[0], `${path}[${index}]`));
    default: {
      if (!isObject(value)) throw new BadFrame("expected an object", path);
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decodeAs(item, rest[0], path)]));
    }
  }
}

/** Defaults are empty lists and objects at most; each frame gets its own. */
function structuredCopy(value: unknown): unknown {
  return Array.isArray(value) ? [] : isObject(value) ? {} : value;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
