#include "serve/web_page.h"

// The assembler puts the file into the program; PHIDIAS_WEB_PAGE_FILE is its path. An array in generated C++ would take
// seconds to compile and half a megabyte to write.
asm(R"(
  .section .rodata
  .global phidias_web_page_begin
  .global phidias_web_page_end
phidias_web_page_begin:
  .incbin ")" PHIDIAS_WEB_PAGE_FILE R"("
phidias_web_page_end:
  .byte 0
  .previous
)");

// NOLINTBEGIN(readability-identifier-naming): the assembler's labels
extern "C" {
extern const char phidias_web_page_begin[];
extern const char phidias_web_page_end[];
}
// NOLINTEND(readability-identifier-naming)

namespace phidias::serve {

std::string_view WebPage() {
  return {phidias_web_page_begin, static_cast<size_t>(phidias_web_page_end - phidias_web_page_begin)};
}

}  // namespace phidias::serve
