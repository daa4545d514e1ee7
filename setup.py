"""Builds the compiled core; everything declarative stands in setup.cfg. Never imports gevent or the package itself."""

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = ("codecs", "wire")

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"geventcql.cython.{name}",
                [f"geventcql/cython/{name}.pyx"],
                extra_compile_args=["-O2"],
            )
            for name in CORE
        ],
        compiler_directives={"language_level": "3"},
    )
)
