// Does a document keep to a JSON Schema? As much of the language as schema/wheelfix-1.json uses.

interface Schema {
  readonly $ref?: string
  readonly $defs?: Readonly<Record<string, Schema>>
  readonly anyOf?: readonly Schema[]
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly type?: 'string' | 'integer' | 'boolean' | 'null' | 'array' | 'object'
  readonly minimum?: number
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean
}

const KNOWN = new Set(
  '$ref $defs $schema $id title description anyOf const enum type minimum items properties required additionalProperties'.split(
    ' ',
  ),
)

/** What is wrong, one line each, with its place; none where the document keeps to the schema. */
export function faultsOf(document: unknown, schema: Schema, root = schema, at = '$'): string[] {
  const unknown = Object.keys(schema).filter(key => !KNOWN.has(key))
  if (unknown.length > 0) throw new Error(`the schema uses ${unknown.join(', ')}, which is not known here`)
  if (schema.$ref !== undefined) {
    const target = root.$defs?.[schema.$ref.replace('#/$defs/', '')]
    if (target === undefined) throw new Error(`${schema.$ref} is not in the schema`)
    return faultsOf(document, target, root, at)
  }
  if (schema.anyOf !== undefined) {
    const all = schema.anyOf.map(one => faultsOf(document, one, root, at))
    // the branch that fits best tells the most
    return all.some(one => one.length === 0) ? [] : (all.sort((a, b) => a.length - b.length)[0] ?? [])
  }
  if ('const' in schema)
    return document === schema.const ? [] : [`${at} is ${JSON.stringify(document)}, not ${String(schema.const)}`]
  if (schema.enum !== undefined) return schema.enum.includes(document) ? [] : [`${at} is ${JSON.stringify(document)}`]
  const type = typeOf(document)
  if (schema.type !== undefined && type !== schema.type) return [`${at} is ${type}, not ${schema.type}`]
  if (schema.minimum !== undefined && typeof document === 'number' && document < schema.minimum)
    return [`${at} is ${document}`]
  if (Array.isArray(document)) {
    const { items } = schema
    return items === undefined ? [] : document.flatMap((item, index) => faultsOf(item, items, root, `${at}[${index}]`))
  }
  if (typeof document !== 'object' || document === null) return []
  const fields = new Map<string, unknown>(Object.entries(document))
  return [
    ...(schema.required ?? []).filter(key => !fields.has(key)).map(key => `${at}.${key} is missing`),
    ...[...fields].flatMap(([key, value]) => {
      const property = schema.properties?.[key]
      if (property !== undefined) return faultsOf(value, property, root, `${at}.${key}`)
      return schema.additionalProperties === false ? [`${at}.${key} is not in the schema`] : []
    }),
  ]
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return Number.isInteger(value) ? 'integer' : typeof value
}
