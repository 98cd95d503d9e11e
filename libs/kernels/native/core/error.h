// Errors with a code of the table in @weft/contracts. The addon makes a WeftError of them, weft-replay a line of text.
#pragma once
#include <stdexcept>
#include <string>

namespace weft {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code(code) {}

  const char* code;
  std::string file, tensor;  // what the error is about, where it is about one
};

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
std::string format(const char* pattern, ...);

}  // namespace weft
