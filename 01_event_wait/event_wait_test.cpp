// Stage 1's mechanism, on real pipes and files.
#include "event_wait.hpp"

#include "single_read_tests.hpp"
