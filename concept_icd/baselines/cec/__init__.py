"""CEC as released (Fatemi, Shi, Saltz, Mueller and Ma, ML4H 2025, PMLR 297; its code), as a baseline.

It has two stages. Each asks one prompt a question; stage 2 is given the yes/no answers of stage 1. It shares the idea
of concepts with this package's coder, but it is another method.

1. Concepts are phrases alone, five "parent" and two "leaf" phrases a code, two models (`prompts`). Training labels:
   the phrases of the gold codes yes, others no, kept with a small probability. Llama-3-8B, NF4, LoRA, loss of the
   language model over the whole sequence. An answer is yes where the greedily written text holds "yes".
2. Bio-Medical-Llama-3-8B, LoRA: is the disease of a code's title there, given the note and eight answered concept
   questions? Training prompts hold gold answers, and the truth in a sentence before them; at test, answers come from
   stage 1. Score: the probability of the Yes that is written, 0 where none is.

Numbers and layout are those of the released code; it carries no licence, so the wording of the prompts is ours. What
else differs: the release writes by sampling where a model's own settings say so, here always greedily; it leaves notes
of stage 1 uncut at test, here they are cut to what fits; a stage that is asked of one note reads it once for all
questions and gives the same answers. The release's test-time answers look informed by the labels. Here that cannot be:
`predicting` takes `Note` records, which have no codes.
"""
