"""The operator's commands: NOUN.py or NOUN_VERB.py, as they are typed; main.py lists the nouns."""
