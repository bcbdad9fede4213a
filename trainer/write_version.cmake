# Writes the version as a C++ string, with the git commit of the sources; leaves the file alone where nothing has changed.
#   cmake -DVERSION=0.1.0 -DSOURCES=DIR -DOUTPUT=FILE -P write_version.cmake
cmake_minimum_required(VERSION 3.25)
set(version ${VERSION})
find_program(GIT git)
if(GIT)
  # Inside another project's repository, its commits say nothing about these sources.
  execute_process(COMMAND ${GIT} -C ${SOURCES} rev-parse --show-prefix OUTPUT_VARIABLE prefix ERROR_QUIET RESULT_VARIABLE fault
                  OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(fault EQUAL 0 AND prefix STREQUAL "")
    execute_process(COMMAND ${GIT} -C ${SOURCES} rev-parse --short=12 HEAD OUTPUT_VARIABLE commit ERROR_QUIET
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
endif()
if(commit)
  string(APPEND version "+${commit}")
  execute_process(COMMAND ${GIT} -C ${SOURCES} diff HEAD --quiet RESULT_VARIABLE differs)
  if(differs)
    execute_process(COMMAND ${GIT} -C ${SOURCES} diff HEAD --binary --no-color --no-ext-diff
                    COMMAND ${GIT} hash-object --stdin OUTPUT_VARIABLE digest)
    string(SUBSTRING "${digest}" 0 8 digest)
    string(APPEND version ".dirty.${digest}")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "\"@version@\"\n" @ONLY)
