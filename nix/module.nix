# A module for NixOS and for Home Manager: programs.wheelfix.
{
  kind,
  flake ? null,
}:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.programs.wheelfix;
  project = import ../. { inherit pkgs flake; };
  libs = if lib.isFunction cfg.libs then cfg.libs pkgs else cfg.libs;
  python = project.functions.pythonWithLibs {
    python = cfg.python.package;
    inherit libs;
  };
  variables =
    lib.optionalAttrs (libs != [ ]) {
      WHEELFIX_DEFAULT_LIBS = lib.makeLibraryPath (project.functions.sets.manylinux pkgs ++ libs);
    }
    // lib.optionalAttrs cfg.python.enable {
      UV_PYTHON = "${python}/bin/python3";
      UV_PYTHON_DOWNLOADS = "never";
    };

  description = "Patch what uv, pipx and pre-commit installed";
  # a missing library, or a run that is still going on, is not a failure of the service: the next change starts it again
  service = {
    Type = "oneshot";
    ExecStart = "${lib.getExe cfg.package} all --quiet";
    SuccessExitStatus = "1";
  };
  # the folders in which these tools install; uv and pipx link a program into .local/bin after its environment is complete
  watched = map (folder: "%h/${folder}") [
    ".local/share/uv/tools"
    ".local/share/uv/python"
    ".local/share/pipx/venvs"
    ".cache/pre-commit"
    ".local/bin"
  ];
in
{
  options.programs.wheelfix = {
    enable = lib.mkEnableOption "wheelfix, which makes wheels from PyPI work";
    package = mkOption {
      type = types.package;
      default = project.wheelfix;
      defaultText = lib.literalExpression "wheelfix.packages.\${system}.wheelfix";
      description = "The package to use.";
    };
    libs = mkOption {
      type = types.either (types.functionTo (types.listOf types.package)) (types.listOf types.package);
      default = [ ];
      example = lib.literalExpression "pkgs: with pkgs; [ cups gtk3 ]";
      description = "Packages with libraries beyond the manylinux set, for projects that name no libraries.";
    };
    python = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether uv uses a Python whose loader knows the libraries, and downloads none: wheels then work unpatched.
        '';
      };
      package = mkOption {
        type = types.package;
        default = pkgs.python3;
        defaultText = lib.literalExpression "pkgs.python3";
        description = "The Python that `python.enable` starts from.";
      };
    };
    tools.enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether a user service patches what uv, pipx and pre-commit install (`wheelfix all`). It runs when one of their
        folders or ~/.local/bin changes. What pre-commit installs after it has cloned a hook is patched at the next such change.
      '';
    };
  };

  config = lib.mkIf cfg.enable (
    if kind == "nixos" then
      {
        environment.systemPackages = [ cfg.package ];
        environment.sessionVariables = variables;
        systemd.user = lib.mkIf cfg.tools.enable {
          services.wheelfix-tools = {
            inherit description;
            serviceConfig = service;
          };
          paths.wheelfix-tools = {
            inherit description;
            wantedBy = [ "default.target" ];
            pathConfig.PathChanged = watched;
          };
        };
      }
    else
      {
        home.packages = [ cfg.package ];
        home.sessionVariables = variables;
        systemd.user = lib.mkIf cfg.tools.enable {
          services.wheelfix-tools = {
            Unit.Description = description;
            Service = service;
          };
          paths.wheelfix-tools = {
            Unit.Description = description;
            Path.PathChanged = watched;
            Install.WantedBy = [ "default.target" ];
          };
        };
      }
  );
}
