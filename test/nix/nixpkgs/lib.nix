# The few functions of nixpkgs' library that the flake uses, with nixpkgs' meaning.
rec {
  genAttrs =
    names: make:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = make name;
      }) names
    );
  attrNames = builtins.attrNames;
  filter = builtins.filter;
  isFunction = builtins.isFunction;
  isList = builtins.isList;
  optionals = condition: list: if condition then list else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  optionalString = condition: text: if condition then text else "";
  concatStringsSep = builtins.concatStringsSep;
  concatMapStringsSep =
    separator: make: list:
    concatStringsSep separator (map make list);
  concatMapStrings = concatMapStringsSep "";
  toList = value: if builtins.isList value then value else [ value ];
  hasSuffix =
    suffix: text:
    let
      rest = builtins.stringLength text - builtins.stringLength suffix;
    in
    rest >= 0 && builtins.substring rest (-1) text == suffix;
  toLower =
    let
      letters =
        text: builtins.filter (part: builtins.isString part && part != "") (builtins.split "" text);
    in
    builtins.replaceStrings (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (
      letters "abcdefghijklmnopqrstuvwxyz"
    );
  escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  getLib = package: package.lib or package.out or package;
  getExe = package: "${package}/bin/${package.meta.mainProgram}";
  makeLibraryPath = packages: concatMapStringsSep ":" (package: "${getLib package}/lib") packages;
  strings.sanitizeDerivationName = builtins.replaceStrings [ "!" " " "@" ] [ "-" "-" "-" ];
  fetchers.proxyImpureEnvVars = [
    "http_proxy"
    "https_proxy"
    "no_proxy"
  ];
  fileset = {
    toSource =
      { root, fileset }:
      builtins.path {
        name = "source";
        path = root;
      };
    unions = sets: sets;
    fileFilter = predicate: path: path;
  };
  licenses.mit = "MIT";
  sourceTypes.fromSource = "source";
  platforms.linux = [
    "x86_64-linux"
    "aarch64-linux"
  ];
}
