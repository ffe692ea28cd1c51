# Warnings are errors in the lab's own code, and only there: GoogleTest does not link this.
add_library(lab_warnings INTERFACE)
if(MSVC)
  target_compile_options(lab_warnings INTERFACE /W4 /WX /permissive- /utf-8 /EHsc)
else()
  target_compile_options(lab_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
endif()
