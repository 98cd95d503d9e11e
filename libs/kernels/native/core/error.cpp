#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace weft {

std::string format(const char* pattern, ...) {
  char text[512];
  va_list values;
  va_start(values, pattern);
  vsnprintf(text, sizeof text, pattern, values);
  va_end(values);
  return text;
}

}  // namespace weft
