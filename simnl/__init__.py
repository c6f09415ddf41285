"""SimNL: few-shot adaptation of vision-language models, and the library that its methods and data sets stand on."""
