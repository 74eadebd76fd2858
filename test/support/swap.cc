// Another user, who may write to a folder of the venv: swaps what is there for links that lead to the victims, and back,
// until SIGTERM. Prints how often. Arguments: temporary, object or folder; the folder; the folder of the victims.
#include <csignal>
#include <cstdio>
#include <dirent.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

static volatile std::sig_atomic_t is_over = 0;

static bool is_regular(const std::string &name) {
  struct stat status;
  return lstat(name.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

int main(int, char **argv) {
  const std::string kind = argv[1], victims = argv[3];
  std::signal(SIGTERM, [](int) { is_over = 1; });
  if (chdir(argv[2]) != 0) return 1;
  const std::string victim = victims + "/a.so";
  long count = 0;
  while (!is_over) {
    if (kind == "temporary") {
      DIR *folder = opendir(".");
      while (const dirent *entry = readdir(folder)) {
        const std::string name = entry->d_name;
        if (name == "a.so" || name == "mine" || !is_regular(name)) continue;
        if (symlink(victim.c_str(), "mine") == 0 && rename("mine", name.c_str()) == 0) count++;
      }
      closedir(folder);
    } else if (kind == "object") {
      if (rename("a.so", "kept") == 0 && symlink(victim.c_str(), "a.so") == 0) count++;
      usleep(300);
      rename("kept", "a.so");
      usleep(700);
    } else {
      if (rename("inner", "kept") == 0 && symlink(victims.c_str(), "inner") == 0) count++;
      usleep(300);
      unlink("inner");
      rename("kept", "inner");
      usleep(700);
    }
  }
  std::printf("%ld\n", count);
}
