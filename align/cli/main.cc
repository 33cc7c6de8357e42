#include <string>
#include <vector>

#include "align/cli/command.h"

int main(int argc, char** argv) {
  return align::cli::RunProgram(
      std::vector<std::string>(argv + 1, argv + argc));
}
