// Makes a new archive with yazl: entries in the given order, deflated. write.ts rewrites existing wheels.
import yazl from 'yazl'

interface NewEntry {
  /** Relative, with slashes. */
  readonly name: string
  readonly content: Uint8Array
}

/** The archive's bytes. The same entries always give the same bytes. */
export async function makeArchive(entries: readonly NewEntry[]): Promise<Buffer> {
  const archive = new yazl.ZipFile()
  // the time and the time zone must not change the bytes
  const options = { mtime: new Date(1980, 0, 1), mode: 0o100644, forceDosTimestamp: true }
  for (const { name, content } of entries) archive.addBuffer(Buffer.from(content), name, options)
  archive.end()
  const chunks: Buffer[] = []
  for await (const chunk of archive.outputStream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
