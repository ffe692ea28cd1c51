# Cross-building for 64-bit Windows with mingw-w64, the variant with POSIX threads: std::thread and std::mutex need it.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
find_program(LAB_MINGW_CXX NAMES x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++ REQUIRED)
find_program(LAB_MINGW_RC NAMES x86_64-w64-mingw32-windres)
find_program(LAB_MINGW_C NAMES x86_64-w64-mingw32-gcc-posix x86_64-w64-mingw32-gcc REQUIRED) # GoogleTest's project asks
set(CMAKE_C_COMPILER ${LAB_MINGW_C})
set(CMAKE_CXX_COMPILER ${LAB_MINGW_CXX})
set(CMAKE_RC_COMPILER ${LAB_MINGW_RC})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# How CTest starts what it has built.
set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/../lab;exec")
