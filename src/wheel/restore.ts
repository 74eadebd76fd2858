// The original objects of a patched wheel, from the undo notes inside them, with the fields of RECORD that belong to them.
import { ElfError } from '../elf/error.ts'
import { carriesNote, originalSource } from '../elf/undo.ts'
import { fieldsOf } from '../fix/apply.ts'
import { trueFields } from '../python/record.ts'
import type { NewContent, Wheel } from './fix.ts'
import type { WheelEntry } from './read.ts'

export interface WheelRestoration {
  readonly contents: ReadonlyMap<WheelEntry, NewContent>
  /** Objects that cannot be given back. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
}

/** What has to be written so that every object is as it was before wheelfix. */
export function restoreWheel(wheel: Wheel): WheelRestoration {
  const contents = new Map<WheelEntry, NewContent>()
  const refused: { path: string; reason: string }[] = []
  for (const { entry, source, object } of wheel.objects) {
    const path = entry.name
    if (object.undo === null) {
      if (carriesNote(source)) refused.push({ path, reason: 'another tool changed this file after wheelfix did' })
      continue
    }
    try {
      const original = originalSource(source, object.undo)
      const fields = object.undo.record === null ? null : fieldsOf(object.undo.record)
      if (fields?.hash.startsWith('sha256=') === true && fields.hash !== trueFields(original).hash)
        refused.push({ path, reason: 'what its undo note gives back is not the file that RECORD told of' })
      else contents.set(entry, fields === null ? { source: original } : { source: original, fields })
    } catch (error) {
      if (!(error instanceof ElfError)) throw error
      refused.push({ path, reason: error.message })
    }
  }
  return { contents, refused }
}
