# Of nixpkgs' module system what the module of the project uses: options with defaults, and mkIf. It checks no types.
rec {
  mkOption = option: option // { _type = "option"; };
  mkEnableOption =
    name:
    mkOption {
      default = false;
      description = "Whether to enable ${name}.";
      type = types.bool;
    };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  types = {
    bool = "bool";
    package = "package";
    anything = "anything";
    either = a: b: "either";
    functionTo = type: "functionTo";
    listOf = type: "listOf";
    attrsOf = type: "attrsOf";
  };
  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      isA = type: value: builtins.isAttrs value && value._type or null == type;
      # what stands behind conditions that hold
      resolve =
        value:
        if isA "if" value then
          if value.condition then resolve value.content else { }
        else if
          builtins.isAttrs value && !(value ? type && value.type == "derivation") && !(value ? _type)
        then
          builtins.mapAttrs (_: resolve) value
        else
          value;
      merge =
        a: b:
        a
        // builtins.mapAttrs (
          name: value:
          if builtins.isAttrs value && builtins.isAttrs (a.${name} or null) && !(value ? type) then
            merge a.${name} value
          else
            value
        ) b;
      loaded = map (
        module: if builtins.isFunction module then module (specialArgs // { inherit config; }) else module
      ) modules;
      options = builtins.foldl' merge { } (map (module: module.options or { }) loaded);
      # what a module defines at a path; a condition is only asked for the options below it
      definitions =
        path: node:
        if isA "if" node then
          let
            inner = definitions path node.content;
          in
          if builtins.length inner > 0 && node.condition then inner else [ ]
        else if path == [ ] then
          [ (resolve node) ]
        else if node ? ${builtins.head path} then
          definitions (builtins.tail path) node.${builtins.head path}
        else
          [ ];
      valueOf =
        path: option:
        let
          all = builtins.concatMap (module: definitions path (module.config or { })) loaded;
        in
        if builtins.length all == 0 then
          option.default or null
        else
          builtins.foldl' (
            a: b: if builtins.isAttrs a && builtins.isAttrs b then merge a b else b
          ) (builtins.head all) (builtins.tail all);
      configOf =
        path: tree:
        builtins.mapAttrs (
          name: node:
          if isA "option" node then valueOf (path ++ [ name ]) node else configOf (path ++ [ name ]) node
        ) tree;
      config = configOf [ ] options;
    in
    {
      inherit config options;
    };
}
