// The needs of wheels, as an overlay for the package sets of uv2nix and pyproject.nix.
import { nixString } from '../nix/build/pin.ts'
import type { NeededFolder, NeededPackage, WheelNeeds } from '../inspect/wheel-needs.ts'

/** The lines of a Nix file. */
export function overlayLines(needs: readonly WheelNeeds[]): string[] {
  return [
    '# What the wheels need from outside; made by `wheelfix nix`, for uv2nix and pyproject.nix:',
    '#   pythonSet.overrideScope (lib.composeManyExtensions [ … (import ./wheels.nix { inherit pkgs; }) ])',
    '{ pkgs }:',
    'final: prev:',
    'let',
    '  inherit (pkgs) lib;',
    '  # packages of nixpkgs, folders of other wheels, and sonames that may be missing',
    '  needing =',
    '    {',
    '      libs ? [ ],',
    '      folders ? [ ],',
    '      ignore ? [ ],',
    '    }:',
    '    package:',
    '    package.overrideAttrs (old: {',
    '      buildInputs = (old.buildInputs or [ ]) ++ libs;',
    '      autoPatchelfIgnoreMissingDeps = lib.toList (old.autoPatchelfIgnoreMissingDeps or [ ]) ++ ignore;',
    '      preFixup = (old.preFixup or "") + lib.concatMapStrings (folder: "\\naddAutoPatchelfSearchPath ${folder}") folders;',
    '    });',
    '  folder = package: path: "${package}/${final.python.sitePackages}${path}";',
    'in',
    '# packages that the set does not have are left out',
    'builtins.intersectAttrs prev {',
    ...needs.flatMap(packageLines),
    '}',
  ]
}

function packageLines({ name, packages, folders, python, ignored, unknown }: WheelNeeds): string[] {
  const libs = [...(python ? ['final.python'] : []), ...packages.map(packageText)]
  const sets = [
    ...listLines('libs', libs),
    ...listLines('folders', folders.map(folderText)),
    ...listLines('ignore', ignored.map(nixString)),
  ]
  return [
    ...unknown.map(soname => `  # ${name} needs ${commentText(soname)}, which no known package of nixpkgs has`),
    ...(sets.length === 0 ? [] : [`  ${nixString(name)} = needing {`, ...sets, `  } prev.${nixString(name)};`]),
  ]
}

function listLines(name: string, items: readonly string[]): string[] {
  return items.length === 0 ? [] : [`    ${name} = [`, ...items.map(item => `      ${item}`), '    ];']
}

/** Returns `pkgs.libx11`, followed by its name in older releases when that differs. */
function packageText({ names, sonames }: NeededPackage): string {
  const paths = names.map(name => `pkgs.${name}`)
  const text = paths.length === 1 ? (paths[0] ?? '') : `(${paths.join(' or ')})`
  return `${text} # ${sonames.map(commentText).join(' ')}`
}

function folderText({ distribution, folder, sonames }: NeededFolder): string {
  const path = folder === '' ? '' : `/${folder}`
  return `(folder final.${nixString(distribution)} ${nixString(path)}) # ${sonames.map(commentText).join(' ')}`
}

/** A text that is safe in a comment, which ends with the line. */
function commentText(text: string): string {
  return text.replaceAll(/[\n\r]/g, '?')
}
